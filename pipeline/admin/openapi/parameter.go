package openapi

import (
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// schema returns the parameter's object in a document.
func (p Parameter) schema(in string) Schema {
	s := Schema{"name": p.Name, "in": in, "description": p.About, "schema": kinds[p.Kind].schema}
	if in == "path" || p.Required {
		s["required"] = true
	}
	return s
}

// kinds are the schemas of the kinds of parameters, what is expected in words, and the checks.
var kinds = [...]struct {
	schema   Schema
	expected string
	ok       func(string) bool
}{
	Text:    {Schema{"type": "string"}, "a text", func(string) bool { return true }},
	Boolean: {Schema{"type": "boolean"}, "true or false", func(s string) bool { return s == "true" || s == "false" }},
	Count:   {Schema{"type": "integer", "minimum": 1, "maximum": maxCount}, "a number, such as 50", func(s string) bool { return isInteger(s, 1) }},
	Integer: {Schema{"type": "integer", "minimum": 0, "maximum": maxCount}, "a number, such as 50", func(s string) bool { return isInteger(s, 0) }},
	Time: {Schema{"type": "string", "format": "date-time"}, "a time such as 2026-01-31T09:30:00Z", func(s string) bool {
		_, err := time.Parse(time.RFC3339, s)
		return err == nil
	}},
	Now: {Schema{"type": "string", "const": "now"}, "now, or nothing", func(s string) bool { return s == "now" }},
}

// maxCount is the greatest integer that every reader of JSON represents exactly (RFC 8259 §6).
const maxCount = 1<<53 - 1

func isInteger(s string, least uint64) bool {
	n, err := strconv.ParseUint(s, 10, 64)
	return err == nil && n >= least && n <= maxCount
}

// CheckQuery returns an error for a query that the operation does not accept: an unknown parameter,
// a value of another kind, a repeated parameter, or a malformed query.
func (o *Operation) CheckQuery(raw string) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return fmt.Errorf("invalid query: %w", err)
	}
	known := make(map[string]Kind)
	for _, p := range o.Query {
		known[p.Name] = p.Kind
		if p.Required && !query.Has(p.Name) {
			return fmt.Errorf("%s is missing: expected %s", p.Name, kinds[p.Kind].expected)
		}
	}
	for name, values := range query {
		kind, ok := known[name]
		switch {
		case !ok:
			return fmt.Errorf("unknown parameter %q", name)
		case len(values) > 1:
			return fmt.Errorf("%s: expected one value", name)
		case !kinds[kind].ok(values[0]):
			return fmt.Errorf("%s: expected %s", name, kinds[kind].expected)
		}
	}
	return nil
}
