package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/schema"
)

// A node is a part of a JSON Schema.
type node map[string]any

// deref follows "$ref", keeping what stands beside it.
func (n node) deref(root node) node {
	ref, ok := n["$ref"].(string)
	if !ok {
		return n
	}
	at := root
	for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		at = node(at[part].(map[string]any))
	}
	merged := maps.Clone(at.deref(root))
	maps.Copy(merged, n)
	return merged
}

// object gathers the properties and the required ones of an object, through the unconditional
// allOf.
func (n node) object(root node) (properties map[string]node, required []string) {
	n = n.deref(root)
	properties = make(map[string]node)
	for name, p := range asMap(n["properties"]) {
		properties[name] = node(p.(map[string]any)).deref(root)
	}
	required = texts(n["required"])
	for _, part := range asList(n["allOf"]) {
		if p := node(part.(map[string]any)); p["if"] == nil {
			more, req := p.object(root)
			maps.Copy(properties, more)
			required = append(required, req...)
		}
	}
	return properties, required
}

func asMap(v any) map[string]any { m, _ := v.(map[string]any); return m }
func asList(v any) []any         { l, _ := v.([]any); return l }

func texts(v any) []string {
	var list []string
	for _, e := range asList(v) {
		list = append(list, e.(string))
	}
	return list
}

func configSchema(t *testing.T) node {
	var root node
	if err := json.Unmarshal(schema.ConfigSchema(), &root); err != nil {
		t.Fatal(err)
	}
	return root
}

// TestSchemaFields holds config.schema.json to the tags of the structs: the same fields, required
// ones, words, bounds and defaults.
func TestSchemaFields(t *testing.T) {
	root := configSchema(t)
	seen := 0
	var compare func(path string, n node, typ reflect.Type)
	compareFields := func(path string, n node, typ reflect.Type) {
		seen++
		properties, required := n.object(root)
		fields, _ := fieldsOf(typ)
		inSchema, inStruct := slices.Sorted(maps.Keys(properties)), names(fields)
		slices.Sort(inStruct)
		if !slices.Equal(inSchema, inStruct) {
			t.Errorf("%s: the schema has %v, the struct %v", path, inSchema, inStruct)
			return
		}
		var requiredInStruct []string
		for _, f := range fields {
			if f.required {
				requiredInStruct = append(requiredInStruct, f.name)
			}
		}
		slices.Sort(required)
		slices.Sort(requiredInStruct)
		if !slices.Equal(required, requiredInStruct) {
			t.Errorf("%s: required are %v in the schema, %v in the struct", path, required, requiredInStruct)
		}
		compareDefaults(t, path, properties, typ)
		for i := range fields {
			f := &fields[i]
			at, p, inner := join(path, f.name), properties[f.name], f.typ
			for inner.Kind() == reflect.Slice || inner.Kind() == reflect.Pointer {
				if inner.Kind() == reflect.Slice {
					if f.as == "paths" { // or one path by itself
						p = node(asMap(asList(p["anyOf"])[1]))
					}
					if p["type"] != "array" {
						t.Errorf("%s: a list, and the schema says %v", at, p["type"])
					}
					p = node(asMap(p["items"])).deref(root)
				}
				inner = inner.Elem()
			}
			if got := texts(p["enum"]); !slices.Equal(got, f.enum) {
				t.Errorf("%s: the words are %v in the schema, %v in the struct", at, got, f.enum)
			}
			if f.typ.Kind() == reflect.Int && (fmt.Sprint(p["minimum"]) != f.min || fmt.Sprint(p["maximum"]) != f.max) {
				t.Errorf("%s: the bounds are %v and %v in the schema, %s and %s in the struct", at, p["minimum"], p["maximum"], f.min, f.max)
			}
			if inner.Kind() == reflect.Struct && inner != secretType {
				compare(at, p, inner)
			}
		}
	}
	compare = func(path string, n node, typ reflect.Type) {
		compareFields(path, n, typ)
		if n["unevaluatedProperties"] != false {
			t.Errorf("%s: the schema allows unknown fields", path)
		}
		_, variants := fieldsOf(typ)
		conditions := make(map[string]node)
		for _, part := range asList(n["allOf"]) {
			if p := asMap(part); p["if"] != nil {
				word := asMap(asMap(asMap(p["if"])["properties"])["type"])["const"].(string)
				conditions[word] = node(asMap(p["then"])).deref(root)
			}
		}
		if len(conditions) != len(variants) {
			t.Errorf("%s: %d types in the schema, %d in the struct", path, len(conditions), len(variants))
		}
		for _, v := range variants {
			compareFields(path+"("+v.name+")", conditions[v.name], v.typ)
		}
	}
	compare("", root, reflect.TypeFor[Config]())
	if seen < 14 {
		t.Errorf("only %d objects were compared", seen)
	}
}

// compareDefaults decodes the schema's defaults and compares them with the struct's.
func compareDefaults(t *testing.T, path string, properties map[string]node, typ reflect.Type) {
	want := reflect.New(typ)
	setDefaults(want.Elem())
	fields, _ := fieldsOf(typ)
	for i := range fields {
		f := &fields[i]
		byDefault, has := properties[f.name]["default"]
		value := want.Elem().FieldByIndex(f.index)
		if !has {
			if !value.IsZero() {
				t.Errorf("%s.%s: %v by default, and the schema does not say so", path, f.name, value)
			}
			continue
		}
		text, err := json.Marshal(byDefault)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseBytes(text, 0)
		if err != nil {
			t.Fatal(err)
		}
		d := &decoder{dir: ".", places: make(map[string]place)}
		got := reflect.New(f.typ).Elem()
		d.value(file.Docs[0].Body, got, f, "")
		if len(d.mistakes) > 0 || !reflect.DeepEqual(got.Interface(), value.Interface()) {
			t.Errorf("%s.%s: %v by default, in the schema %v %v", path, f.name, value, got, d.mistakes)
		}
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema.ConfigSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("config.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("config.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// readYAML reads a file by the parser that reads configurations, and the library's own decoder.
func readYAML(t *testing.T, path string) (doc any) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := &decoder{file: path, places: make(map[string]place)}
	root := d.parse(data)
	if root == nil {
		t.Fatal(d.mistakes)
	}
	if err := yaml.NodeToValue(root, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func validate(t *testing.T, compiled *jsonschema.Schema, path string) error {
	asJSON, err := json.Marshal(readYAML(t, path))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	return compiled.Validate(doc)
}

func TestSchemaTakesGoodFiles(t *testing.T) {
	compiled := compileSchema(t)
	for _, path := range glob(t, "testdata/good/*.yaml") {
		if err := validate(t, compiled, path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestSchemaRefusesBadFiles is for the bad files of which a schema can tell.
func TestSchemaRefusesBadFiles(t *testing.T) {
	compiled := compileSchema(t)
	for _, name := range []string{"seven", "missing_all", "drain_urls", "names", "nats", "nats_credentials", "nats_files", "not_a_mapping", "presets", "docker", "docker_host", "identity", "nobody", "console", "console_alone", "console_oidc", "admin", "admin_parts"} {
		if err := validate(t, compiled, filepath.Join("testdata/bad", name+".yaml")); err == nil {
			t.Errorf("%s is valid by the schema", name)
		}
	}
}

// TestGoodFilesUseEveryField keeps testdata/good complete when a field is added.
func TestGoodFilesUseEveryField(t *testing.T) {
	setEnv(t)
	used := make(map[string]bool)
	for _, path := range glob(t, "testdata/good/*.yaml") {
		var walk func(path string, v any)
		walk = func(path string, v any) {
			switch v := v.(type) {
			case map[string]any:
				kind, _ := v["type"].(string)
				for name, inner := range v {
					used[join(path, name)], used[path+"("+kind+")."+name] = true, true
					walk(join(path, name), inner)
				}
			case []any:
				for _, inner := range v {
					walk(path, inner)
				}
			}
		}
		walk("", readYAML(t, path))
	}
	var check func(path string, typ reflect.Type)
	check = func(path string, typ reflect.Type) {
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ == secretType {
			return
		}
		fields, variants := fieldsOf(typ)
		for _, f := range fields {
			if !used[join(path, f.name)] {
				t.Errorf("no good file has %s", join(path, f.name))
			}
			check(join(path, f.name), f.typ)
		}
		for _, v := range variants {
			for _, f := range v.fields {
				if name := path + "(" + v.name + ")." + f.name; !used[name] {
					t.Errorf("no good file has %s", name)
				}
			}
		}
	}
	check("", reflect.TypeFor[Config]())
}

func TestSessionDurationLimit(t *testing.T) {
	if sessionDurationLimit != session.SessionDurationLimit {
		t.Errorf("sessions may last %v, and the configuration allows %v", session.SessionDurationLimit, sessionDurationLimit)
	}
	most, _, _ := parseDuration(reflectTag(t, reflect.TypeFor[Stack](), "SessionDuration", "max"))
	if most != int64(sessionDurationLimit) {
		t.Errorf("the tag says %d", most)
	}
}

func reflectTag(t *testing.T, typ reflect.Type, name, tag string) string {
	f, ok := typ.FieldByName(name)
	if !ok {
		t.Fatalf("%v has no %s", typ, name)
	}
	return f.Tag.Get(tag)
}
