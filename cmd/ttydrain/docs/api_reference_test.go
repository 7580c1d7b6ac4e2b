package docs

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/admin"
)

const apiHead = `# HTTP API reference

<!-- generated: go test ./cmd/ttydrain/docs -run Reference -update -->

Every operation of the [HTTP API](api.md), generated from its OpenAPI document (` + "`ttydrain schema api`, or\n`/api/openapi.json`" + ` of a server).
`

// The parts of an OpenAPI document that the reference shows.
type (
	apiDocument struct {
		Tags []struct {
			Name, Description string
		}
		Paths      map[string]map[string]apiOperation
		Components struct {
			Schemas   map[string]apiSchema
			Responses map[string]apiResponse
		}
	}
	apiOperation struct {
		Tags                 []string
		Summary, Description string
		Parameters           []struct {
			Name, In, Description string
			Schema                apiSchema
		}
		RequestBody *struct {
			Required bool
			Content  map[string]apiContent
		}
		Responses map[string]apiResponse
		Security  []map[string][]string
	}
	apiResponse struct {
		Ref         string `json:"$ref"`
		Description string
		Headers     map[string]struct{ Description string }
		Content     map[string]apiContent
	}
	apiContent struct {
		Schema  apiSchema
		Example json.RawMessage
	}
	apiSchema struct {
		Ref             string `json:"$ref"`
		Type, Format    string
		Description     string
		Const           string
		Enum            []string
		Minimum         *int
		MaxLength       int
		Items           *apiSchema
		Properties      map[string]apiSchema
		Required        []string
		ContentEncoding string
	}
)

// TestAPIReference checks that http-api-reference.md has every operation and every type of the
// OpenAPI document. Update it with go test ./cmd/ttydrain/docs -run Reference -update.
func TestAPIReference(t *testing.T) {
	var d apiDocument
	if err := json.Unmarshal(admin.OpenAPI(), &d); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(apiHead)
	n := 0
	for _, tag := range d.Tags {
		fmt.Fprintf(&b, "\n## %s%s\n\n%s", strings.ToUpper(tag.Name[:1]), tag.Name[1:], paragraph(tag.Description))
		for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
			for _, method := range slices.Sorted(maps.Keys(d.Paths[path])) {
				if o := d.Paths[path][method]; o.Tags[0] == tag.Name {
					n++
					fmt.Fprintf(&b, "\n### %s %s\n\n", strings.ToUpper(method), path)
					d.write(&b, &o)
				}
			}
		}
	}
	fmt.Fprintf(&b, "\n## Errors\n\nErrors are a [`Refused`](#refused), unless an operation says otherwise. What to do about them: [errors](api.md#errors).\n\n")
	d.writeErrors(&b)
	b.WriteString("\n## Types\n\nThe types of bodies in JSON. Fields that are not always there are marked with a question mark.\n")
	for _, name := range slices.Sorted(maps.Keys(d.Components.Schemas)) {
		s := d.Components.Schemas[name]
		fmt.Fprintf(&b, "\n### `%s`\n\n", name)
		if len(s.Properties) == 0 {
			b.WriteString(paragraph("An object. " + s.Description))
			continue
		}
		b.WriteString("| field | type | meaning |\n|---|---|---|\n")
		for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
			optional := "?"
			if slices.Contains(s.Required, field) {
				optional = ""
			}
			fmt.Fprintf(&b, "| `%s`%s | %s | %s |\n", field, optional, typeInWords(s.Properties[field]), s.Properties[field].Description)
		}
	}
	if n < 20 {
		t.Errorf("found %d operations, expected more: the test looks in the wrong place", n)
	}
	checkReference(t, "http-api-reference.md", b.String())
}

// write writes an operation.
func (d *apiDocument) write(b *strings.Builder, o *apiOperation) {
	b.WriteString(paragraph(o.Summary + ". " + o.Description + d.access(o)))
	if o.Parameters != nil {
		b.WriteString("\n| parameter | type | meaning |\n|---|---|---|\n")
		for _, p := range o.Parameters {
			in := ""
			if p.In == "path" {
				in = ", in the path"
			}
			fmt.Fprintf(b, "| `%s` | %s%s | %s |\n", p.Name, typeInWords(p.Schema), in, p.Description)
		}
	}
	if o.RequestBody != nil {
		for _, content := range o.RequestBody.Content {
			optional := ""
			if !o.RequestBody.Required {
				optional = " (optional)"
			}
			fmt.Fprintf(b, "\nBody%s: %s, such as\n\n```json\n%s\n```\n", optional, typeInWords(content.Schema), compact(content.Example))
		}
	}
	b.WriteString("\n| status | type | meaning |\n|---|---|---|\n")
	var errors []string
	for _, status := range slices.Sorted(maps.Keys(o.Responses)) {
		r := o.Responses[status]
		if r.Ref != "" {
			errors = append(errors, status)
			continue
		}
		kind := ""
		for media, content := range r.Content {
			kind = "`" + media + "`"
			if media == "application/json" {
				kind = typeInWords(content.Schema)
			}
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", status, kind, r.Description+headersInWords(r.Headers))
	}
	if errors != nil {
		fmt.Fprintf(b, "\n[Errors](#errors): %s.\n", strings.Join(errors, ", "))
	}
}

// writeErrors writes the statuses of errors.
func (d *apiDocument) writeErrors(b *strings.Builder) {
	names := make(map[string]string) // by status
	for _, path := range d.Paths {
		for _, o := range path {
			for status, r := range o.Responses {
				if name, ok := strings.CutPrefix(r.Ref, "#/components/responses/"); ok {
					names[status] = name
				}
			}
		}
	}
	b.WriteString("| status | meaning |\n|---|---|\n")
	for _, status := range slices.Sorted(maps.Keys(names)) {
		r := d.Components.Responses[names[status]]
		fmt.Fprintf(b, "| %s | %s |\n", status, r.Description+headersInWords(r.Headers))
	}
}

// headersInWords returns sentences about the headers of a response.
func headersInWords(headers map[string]struct{ Description string }) (sentences string) {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		sentences += fmt.Sprintf(" `%s`: %s.", name, headers[name].Description)
	}
	return sentences
}

// access returns a sentence about who may call an operation.
func (d *apiDocument) access(o *apiOperation) string {
	switch len(o.Security) {
	case 0:
		return " It needs no authentication."
	case 1:
		return " It needs the admin token."
	}
	return ""
}

// typeInWords returns the type of a value, with a link to a type of this page.
func typeInWords(s apiSchema) string {
	words := s.Type
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		words = fmt.Sprintf("[`%s`](#%s)", name, strings.ToLower(name))
	}
	switch {
	case s.Const != "":
		words = "`" + s.Const + "`"
	case s.Enum != nil:
		words = "`" + strings.Join(slices.DeleteFunc(slices.Clone(s.Enum), func(v string) bool { return v == "" }), "`, `") + "`"
	case s.Format == "date-time":
		words = "time (RFC 3339)"
	case s.ContentEncoding != "":
		words = s.ContentEncoding
	case s.Items != nil:
		words = "array of " + typeInWords(*s.Items)
	case s.Minimum != nil && *s.Minimum > 0:
		words += fmt.Sprintf(" from %d", *s.Minimum)
	case s.MaxLength > 0:
		words += fmt.Sprintf(" of at most %d characters", s.MaxLength)
	}
	return words
}

// compact returns JSON on one line.
func compact(data json.RawMessage) string {
	var value any
	if json.Unmarshal(data, &value) != nil {
		return ""
	}
	text, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return strings.NewReplacer(`":`, `": `, `,"`, `, "`).Replace(string(text))
}
