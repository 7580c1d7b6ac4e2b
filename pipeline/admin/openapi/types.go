package openapi

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// typeOf returns the schema of a value's type. Structs are added to the components.
func (w *writer) typeOf(value any) Schema { return w.schemaOf(reflect.TypeOf(value)) }

func (w *writer) schemaOf(t reflect.Type) Schema {
	if t == reflect.TypeFor[time.Time]() {
		return Schema{"type": "string", "format": "date-time"}
	}
	name := nameOf(t)
	if written, ok := w.api.Schemas[name]; ok && name != "" {
		w.schemas[name] = written
		return Schema{"$ref": "#/components/schemas/" + name}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return w.schemaOf(t.Elem())
	case reflect.Bool:
		return Schema{"type": "boolean"}
	case reflect.String:
		return Schema{"type": "string"}
	case reflect.Int, reflect.Int64:
		return Schema{"type": "integer"}
	case reflect.Uint64:
		return Schema{"type": "integer", "minimum": 0}
	case reflect.Float64:
		return Schema{"type": "number"}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return Schema{"type": "string", "contentEncoding": "base64"}
		}
		return Schema{"type": "array", "items": w.schemaOf(t.Elem())}
	case reflect.Struct:
		if _, known := w.schemas[name]; !known {
			w.schemas[name] = nil // for types that contain themselves
			w.schemas[name] = w.object(name, t)
		}
		return Schema{"$ref": "#/components/schemas/" + name}
	}
	w.fail("the type %s is not supported", t)
	return nil
}

// nameOf returns the name of a type in the document.
func nameOf(t reflect.Type) string {
	if t.Name() == "" {
		return ""
	}
	letters := []rune(t.Name())
	return string(unicode.ToUpper(letters[0])) + string(letters[1:])
}

func (w *writer) object(name string, t reflect.Type) Schema {
	properties, required := make(Schema), []string{}
	for _, f := range Fields(t) {
		s := w.schemaOf(f.Type)
		d, ok := w.api.Fields[f.Of+"."+f.Name]
		if !ok {
			w.fail("the field %s.%s has no description", f.Of, f.Name)
		}
		w.describe(f.Of+"."+f.Name, d, s)
		properties[f.Name] = s
		if !f.Optional {
			required = append(required, f.Name)
		}
	}
	object := Schema{"type": "object", "properties": properties}
	if len(required) > 0 {
		object["required"] = required
	}
	maps.Copy(object, w.api.Rules[name])
	return object
}

// describe adds the description of a field to its schema.
func (w *writer) describe(name string, d Field, s Schema) {
	if w.described == nil {
		w.described = make(map[string]bool)
	}
	w.described[name] = true
	s["description"] = d.About
	if d.Values != nil {
		s["enum"] = d.Values
	}
	of := "Length"
	if s["type"] == "array" {
		of = "Items"
	}
	if d.MinLength > 0 {
		s["min"+of] = d.MinLength
	}
	if d.MaxLength > 0 {
		s["max"+of] = d.MaxLength
	}
}

// A StructField is a field of an object in JSON.
type StructField struct {
	Of   string // the type that declares it
	Name string
	Type reflect.Type
	// Optional means that it is omitted if it is empty.
	Optional bool
}

// Fields returns the fields that encoding/json writes of a struct, including those of embedded
// structs.
func Fields(t reflect.Type) (fields []StructField) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			embedded := f.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			fields = append(fields, Fields(embedded)...)
		case f.IsExported() && name != "" && name != "-":
			fields = append(fields, StructField{nameOf(t), name, f.Type, strings.Contains(options, "omit")})
		}
	}
	return fields
}

// Check returns an error if a decoded value has another length than the description allows.
func (d Field) Check(value any) error {
	n := 0
	switch v := value.(type) {
	case string:
		n = utf8.RuneCountInString(v)
	case []any:
		n = len(v)
	default:
		return nil
	}
	switch {
	case n < d.MinLength:
		return errors.New("it is empty")
	case d.MaxLength > 0 && n > d.MaxLength:
		return fmt.Errorf("it is longer than %d", d.MaxLength)
	}
	return nil
}
