// Package openapi writes the OpenAPI 3.1 document of an HTTP API, from a table of its operations
// and the Go types of their bodies.
package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

// JSON is the media type of JSON.
const JSON = "application/json"

// An Operation is a method of a path.
type Operation struct {
	// ID is the operationId, Tag its group.
	ID, Tag string
	Method  string
	Path    string // with parameters in braces, as in patterns of [http.ServeMux]
	Summary string // a phrase without a full stop
	About   string // sentences; "" for none
	// Path parameters are described in [API.Paths].
	Query []Parameter
	// Body is a value of the request body's type; nil for none.
	Body any
	// BodyOptional allows requests without the body.
	BodyOptional bool
	// Example is an example of the body, in JSON.
	Example string
	Result  Result
	// Refusals are the statuses of its errors in JSON, besides those of [API.Common], and
	// TextRefusals describe its errors in plain text.
	Refusals     []int
	TextRefusals map[int]string
	// Security names the schemes of which a request needs one; empty for none.
	Security []string
}

// Key returns the method and the path, which is the operation's pattern in an [http.ServeMux].
func (o *Operation) Key() string { return o.Method + " " + o.Path }

// A Result is the body of a response with the status 200.
type Result struct {
	About string
	// Type is the media type, by default JSON.
	Type string
	// Value is a value of the Go type of a body in JSON; nil for other media types.
	Value any
	// Headers are the descriptions of headers, by name.
	Headers map[string]string
}

// A Kind is the set of values of a parameter.
type Kind int

// The kinds of parameters.
const (
	Text    Kind = iota
	Boolean      // true or false
	Count        // an integer of at least 1
	Integer      // an integer of at least 0
	Time         // RFC 3339
	Now          // the word "now"
)

// A Parameter is a parameter of a path or a query.
type Parameter struct {
	Name  string
	Kind  Kind
	About string
	// Required means that a query without it is refused. Those of a path always are.
	Required bool
}

// A Field describes a field of a body.
type Field struct {
	About string
	// Values are all values; nil if others are possible.
	Values []string
	// MinLength and MaxLength bound the characters of a string, or the elements of an array; 0 for
	// no bound.
	MinLength, MaxLength int
}

// An API is what a document describes.
type API struct {
	Title, Version, About, License string
	Tags                           []Tag
	Operations                     []Operation
	// Paths describe the parameters of paths, by name.
	Paths map[string]Parameter
	// Fields describe the fields of bodies, as "Type.field". Each field needs a description.
	Fields map[string]Field
	// Schemas are written schemas of types, by the name of the type.
	Schemas map[string]Schema
	// Rules are added to the schemas of types, by the name of the type.
	Rules map[string]Schema
	// Error is a value of the type of errors.
	Error any
	// Refusals describe statuses of errors, and Common are those of all operations with Security.
	Refusals map[int]Refusal
	Common   []int
	// Security are the security schemes.
	Security map[string]Schema
}

// A Tag is a group of operations.
type Tag struct {
	Name  string `json:"name"`
	About string `json:"description"`
}

// A Refusal is a response with the status of an error.
type Refusal struct {
	About   string
	Headers map[string]string
}

// A Schema is a part of a document.
type Schema map[string]any

// Document returns the document. The error names what has no description.
func (a *API) Document() ([]byte, error) {
	w := &writer{api: a, schemas: make(Schema), responses: make(Schema)}
	paths := make(Schema)
	for i := range a.Operations {
		o := &a.Operations[i]
		path, known := paths[o.Path].(Schema)
		if !known {
			path = make(Schema)
			paths[o.Path] = path
		}
		if _, twice := path[strings.ToLower(o.Method)]; twice {
			w.fail("%s is there twice", o.Key())
		}
		path[strings.ToLower(o.Method)] = w.operation(o)
	}
	document := struct {
		Version    string   `json:"openapi"`
		Info       Schema   `json:"info"`
		Servers    []Schema `json:"servers"`
		Tags       []Tag    `json:"tags"`
		Paths      Schema   `json:"paths"`
		Components Schema   `json:"components"`
	}{
		"3.1.0",
		Schema{"title": a.Title, "version": a.Version, "description": a.About, "license": Schema{"name": a.License, "identifier": a.License}},
		[]Schema{{"url": "/", "description": "the admin address (admin.listen) or the socket (admin.socket)"}},
		a.Tags, paths,
		Schema{"schemas": w.schemas, "responses": w.responses, "securitySchemes": a.Security},
	}
	for name := range a.Fields {
		if !w.described[name] {
			w.fail("the field %s does not exist", name)
		}
	}
	if w.err != nil {
		return nil, w.err
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(document); err != nil {
		return nil, fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	return b.Bytes(), nil
}

// writer writes a document.
type writer struct {
	api                *API
	schemas, responses Schema // of the components
	described          map[string]bool
	err                error // the first one
}

func (w *writer) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("OpenAPI document: "+format, args...)
	}
}

func (w *writer) operation(o *Operation) Schema {
	if o.ID == "" || o.Tag == "" || o.Summary == "" || o.Result.About == "" {
		w.fail("%s lacks an ID, a tag, a summary or a description of its result", o.Key())
	}
	operation := Schema{"operationId": o.ID, "tags": []string{o.Tag}, "summary": o.Summary, "responses": w.responsesOf(o)}
	if o.About != "" {
		operation["description"] = o.About
	}
	security := []Schema{} // none
	for _, name := range o.Security {
		security = append(security, Schema{name: []string{}})
	}
	operation["security"] = security
	var parameters []Schema
	for _, name := range PathParameters(o.Path) {
		p, known := w.api.Paths[name]
		if !known {
			w.fail("%s: the parameter %s has no description", o.Key(), name)
		}
		parameters = append(parameters, p.schema("path"))
	}
	for _, p := range o.Query {
		if p.About == "" {
			w.fail("%s: the parameter %s has no description", o.Key(), p.Name)
		}
		parameters = append(parameters, p.schema("query"))
	}
	if parameters != nil {
		operation["parameters"] = parameters
	}
	if o.Body != nil {
		content := Schema{"schema": w.typeOf(o.Body)}
		if s, ok := w.schemas[nameOf(reflect.TypeOf(o.Body))].(Schema); ok {
			s["additionalProperties"] = false
		}
		if o.Example != "" {
			content["example"] = json.RawMessage(o.Example)
		}
		operation["requestBody"] = Schema{"required": !o.BodyOptional, "content": Schema{JSON: content}}
	}
	return operation
}

// responsesOf returns the responses of an operation, by status.
func (w *writer) responsesOf(o *Operation) Schema {
	success := Schema{"description": o.Result.About}
	kind, schema := o.Result.Type, Schema{}
	switch {
	case o.Result.Value != nil:
		schema = w.typeOf(o.Result.Value)
	case strings.HasPrefix(kind, "text/"):
		schema = Schema{"type": "string"}
	}
	if kind == "" {
		kind = JSON
	}
	success["content"] = Schema{kind: Schema{"schema": schema}}
	if o.Result.Headers != nil {
		success["headers"] = headers(o.Result.Headers)
	}
	responses := Schema{"200": success}
	refusals := o.Refusals
	if len(o.Security) > 0 {
		refusals = append(append([]int(nil), w.api.Common...), refusals...)
	}
	for _, status := range refusals {
		responses[strconv.Itoa(status)] = Schema{"$ref": "#/components/responses/" + w.refusal(status)}
	}
	for status, about := range o.TextRefusals {
		responses[strconv.Itoa(status)] = Schema{"description": about, "content": Schema{"text/plain": Schema{"schema": Schema{"type": "string"}}}}
	}
	return responses
}

// refusal adds the response of an error to the components, and returns its name.
func (w *writer) refusal(status int) string {
	name := strings.ReplaceAll(http.StatusText(status), " ", "")
	r, known := w.api.Refusals[status]
	if !known {
		w.fail("the status %d has no description", status)
	}
	response := Schema{"description": r.About, "content": Schema{JSON: Schema{"schema": w.typeOf(w.api.Error)}}}
	if r.Headers != nil {
		response["headers"] = headers(r.Headers)
	}
	w.responses[name] = response
	return name
}

func headers(about map[string]string) Schema {
	all := make(Schema)
	for name, text := range about {
		all[name] = Schema{"description": text, "schema": Schema{"type": "string"}}
	}
	return all
}

// PathParameters returns the names of a path's parameters.
func PathParameters(path string) (names []string) {
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	return names
}
