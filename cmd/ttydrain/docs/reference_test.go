package docs

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/ttydrain/ttydrain/schema"
)

var update = flag.Bool("update", false, "write the reference of the configuration anew")

const referenceHead = `# Configuration reference

<!-- generated: go test ./cmd/ttydrain/docs -run Reference -update -->

Every key of the [configuration](configuration.md), generated from its JSON Schema (` + "`ttydrain schema config`" + `).

| type | values |
|---|---|
| duration | such as ` + "`500ms`, `10s` or `1h30m`" + ` |
| size | bytes, or with a unit: ` + "`64KB`, `1024MB`, `1GiB`" + `. Units are powers of 1024 |
| path | relative paths start at the folder of the configuration |
| address | a host and a port |
| secret | the value itself, with ` + "`${NAME}`" + ` for environment variables, or ` + "`file:PATH`" + ` |
| name | letters, digits and ` + "`._-`" + `, at most 63 |
`

// TestConfigurationReference checks that configuration-reference.md has every key of the schema
// with its type, default and description. Update it with go test ./cmd/ttydrain/docs -run Reference
// -update.
func TestConfigurationReference(t *testing.T) {
	const file = "configuration-reference.md"
	var s yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(schema.ConfigSchema(), &s, yaml.UseOrderedMap()); err != nil {
		t.Fatal(err)
	}
	r := &configurationReference{t: t, definitions: mapping(s, "$defs")}
	r.b.WriteString(referenceHead)
	r.keys("##", "", s)
	for _, name := range []string{"tls", "proxy"} {
		fmt.Fprintf(&r.b, "\n## Settings of %s\n", sharedSettings[name])
		r.keys("###", "", mapping(r.definitions, name))
	}
	if r.count < 150 {
		t.Errorf("found %d keys, expected more: the test looks in the wrong place", r.count)
	}
	if *update {
		if err := os.WriteFile(file, []byte(r.b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(written) != r.b.String() {
		t.Errorf("%s differs from the schema: update it with -update", file)
	}
}

// sharedSettings are the definitions of the schema that have a section of their own, since many
// mappings include them.
var sharedSettings = map[string]string{"tls": "TLS", "proxy": "proxies"}

// A configurationReference is the reference of the configuration that is being written.
type configurationReference struct {
	t           *testing.T
	definitions yaml.MapSlice
	b           strings.Builder
	count       int
}

// keys writes the keys of an object of the schema, with headings of a level, and of the objects in
// it.
func (r *configurationReference) keys(level, prefix string, object yaml.MapSlice) {
	required := list(object, "required")
	for _, item := range mapping(object, "properties") {
		key := fmt.Sprint(item.Key)
		property := r.resolve(item.Value.(yaml.MapSlice))
		path := prefix + key
		r.count++
		about := r.typeOf(property) + note(property, slices.Contains(required, key)) + "."
		if description := stringOf(property, "description"); description != "" {
			about += " " + strings.NewReplacer("_", `\_`, "*", `\*`, "<", `\<`).Replace(description)
		}
		fmt.Fprintf(&r.b, "\n%s %s\n\n%s", level, path, paragraph(about))
		r.nested(path, property)
	}
}

// nested writes the keys below a property, if it is a mapping or a list of mappings.
func (r *configurationReference) nested(path string, property yaml.MapSlice) {
	if stringOf(property, "$shared") != "" {
		return
	}
	if items := mapping(property, "items"); items != nil {
		r.nested(path+"[]", r.resolve(items))
		return
	}
	if mapping(property, "properties") == nil {
		return
	}
	r.keys("###", path+".", property)
	for _, entry := range entries(property, "allOf") {
		if name, ok := strings.CutPrefix(stringOf(entry, "$ref"), "#/$defs/"); ok {
			r.shared(path, name)
			continue
		}
		// A type of drain.
		kind := stringOf(mapping(mapping(mapping(entry, "if"), "properties"), "type"), "const")
		then := r.resolve(mapping(entry, "then"))
		if kind == "" || mapping(then, "properties") == nil {
			r.t.Errorf("%s: allOf has an entry that the reference does not know", path)
			continue
		}
		fmt.Fprintf(&r.b, "\n### %s of type %s\n\n%s", path, kind, paragraph("The keys of all drains, and these. "+stringOf(then, "description")))
		r.keys("###", kind+": "+path+".", then)
		for _, inner := range entries(then, "allOf") {
			r.shared(path, strings.TrimPrefix(stringOf(inner, "$ref"), "#/$defs/"))
		}
	}
}

// paragraph returns a text in lines of at most 116 characters.
func paragraph(text string) string {
	var words []word
	for _, w := range strings.Fields(text) {
		words = append(words, word{text: w, width: width(w)})
	}
	var b strings.Builder
	for _, line := range wrap(words, 116) {
		b.WriteString(line.text + "\n")
	}
	return b.String()
}

// shared writes a link to settings with a section of their own.
func (r *configurationReference) shared(path, name string) {
	title, known := sharedSettings[name]
	if !known {
		r.t.Errorf("%s includes %q, which has no section", path, name)
	}
	fmt.Fprintf(&r.b, "\nAnd the [settings of %s](#settings-of-%s).\n", title, strings.ToLower(title))
}

// scalars are the definitions that are types, and not mappings.
var scalars = []string{"name", "text", "tag", "path", "address", "duration", "size", "secret"}

// resolve returns an entry of the schema with what it refers to.
func (r *configurationReference) resolve(entry yaml.MapSlice) yaml.MapSlice {
	name, refers := strings.CutPrefix(stringOf(entry, "$ref"), "#/$defs/")
	if !refers {
		return entry
	}
	if slices.Contains(scalars, name) {
		return append(slices.Clone(entry), yaml.MapItem{Key: "$type", Value: name})
	}
	merged := slices.Clone(entry)
	if sharedSettings[name] != "" {
		merged = append(merged, yaml.MapItem{Key: "$shared", Value: name})
	}
	for _, item := range mapping(r.definitions, name) {
		if value(entry, fmt.Sprint(item.Key)) == nil {
			merged = append(merged, item)
		}
	}
	return merged
}

// typeOf returns the type of a property in words.
func (r *configurationReference) typeOf(property yaml.MapSlice) string {
	if name := stringOf(property, "$type"); name != "" {
		return strings.ToUpper(name[:1]) + name[1:]
	}
	if shared := stringOf(property, "$shared"); shared != "" {
		return fmt.Sprintf("`none`, or a mapping: [settings of %s](#settings-of-%s)", sharedSettings[shared], sharedSettings[shared])
	}
	if stringOf(property, "pattern") == "^none$" && mapping(property, "properties") != nil {
		return "`none`, or a mapping"
	}
	if constant := stringOf(property, "const"); constant != "" {
		return "`" + constant + "`"
	}
	if values := list(property, "enum"); values != nil {
		return "One of `" + strings.Join(values, "`, `") + "`"
	}
	if alternatives := entries(property, "anyOf"); alternatives != nil && stringOf(property, "type") == "" {
		var names []string
		for _, a := range alternatives {
			names = append(names, r.typeOf(r.resolve(a)))
		}
		for i := range names[1:] {
			names[i+1] = strings.ToLower(names[i+1][:1]) + names[i+1][1:]
		}
		return strings.Join(names, ", or ")
	}
	switch kind := stringOf(property, "type"); kind {
	case "array":
		of := r.typeOf(r.resolve(mapping(property, "items")))
		return "List: " + strings.ToLower(of[:1]) + of[1:]
	case "object":
		if mapping(property, "properties") == nil {
			return "Mapping of names to values"
		}
		return "Mapping"
	case "integer":
		return "Integer" + limits(property)
	case "boolean", "string", "number":
		return strings.ToUpper(kind[:1]) + kind[1:]
	default:
		r.t.Errorf("a property has a type that the reference does not know: %v", property)
		return ""
	}
}

// limits returns the least and the greatest value of a number in words.
func limits(property yaml.MapSlice) string {
	least, greatest := value(property, "minimum"), value(property, "maximum")
	switch {
	case least != nil && greatest != nil:
		return fmt.Sprintf(" from %v to %v", least, greatest)
	case least != nil:
		return fmt.Sprintf(", at least %v", least)
	}
	return ""
}

// note returns whether a property is required, and its default.
func note(property yaml.MapSlice, required bool) string {
	if required {
		return ", required"
	}
	switch d := value(property, "default").(type) {
	case nil:
		return ""
	case []any:
		return fmt.Sprintf(", by default `%s`", strings.Join(strings.Fields(strings.Trim(fmt.Sprint(d), "[]")), "`, `"))
	default:
		return fmt.Sprintf(", by default `%v`", d)
	}
}

func value(entry yaml.MapSlice, key string) any {
	for _, item := range entry {
		if item.Key == key {
			return item.Value
		}
	}
	return nil
}

func mapping(entry yaml.MapSlice, key string) yaml.MapSlice {
	m, _ := value(entry, key).(yaml.MapSlice)
	return m
}

func stringOf(entry yaml.MapSlice, key string) string {
	s, _ := value(entry, key).(string)
	return s
}

func list(entry yaml.MapSlice, key string) (values []string) {
	items, _ := value(entry, key).([]any)
	for _, item := range items {
		values = append(values, fmt.Sprint(item))
	}
	return values
}

func entries(entry yaml.MapSlice, key string) (found []yaml.MapSlice) {
	items, _ := value(entry, key).([]any)
	for _, item := range items {
		if m, ok := item.(yaml.MapSlice); ok {
			found = append(found, m)
		}
	}
	return found
}
