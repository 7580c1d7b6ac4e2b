package config

import (
	"reflect"
	"strings"
	"time"
)

// field holds the tags of a struct's field.
type field struct {
	name     string
	index    []int // for reflect.Value.FieldByIndex
	typ      reflect.Type
	required bool
	enum     []string
	as       string
	min, max string
	want     string
}

// variant is a set of fields that a struct has if its "type" has this name.
type variant struct {
	name   string
	index  int // index of the pointer to the struct with the fields
	typ    reflect.Type
	fields []field
}

// fieldsOf reads the tags of a struct type.
func fieldsOf(t reflect.Type) (fields []field, variants []variant) {
	for i := range t.NumField() {
		sf := t.Field(i)
		if name := sf.Tag.Get("variant"); name != "" {
			inner, _ := fieldsOf(sf.Type.Elem())
			variants = append(variants, variant{name: name, index: i, typ: sf.Type.Elem(), fields: inner})
			continue
		}
		name, options, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			inner, _ := fieldsOf(sf.Type)
			for _, f := range inner {
				f.index = append([]int{i}, f.index...)
				fields = append(fields, f)
			}
		case name != "" && name != "-":
			f := field{
				name:     name,
				index:    []int{i},
				typ:      sf.Type,
				required: sf.Tag.Get("rule") == "required",
				as:       sf.Tag.Get("as"),
				min:      sf.Tag.Get("min"),
				max:      sf.Tag.Get("max"),
				want:     sf.Tag.Get("want"),
			}
			if enum := sf.Tag.Get("enum"); enum != "" {
				f.enum = strings.Split(enum, "|")
			}
			fields = append(fields, f)
		}
	}
	for i := range fields {
		if len(variants) > 0 && fields[i].name == "type" {
			for _, v := range variants {
				fields[i].enum = append(fields[i].enum, v.name)
			}
		}
	}
	return fields, variants
}

var (
	secretType   = reflect.TypeFor[Secret]()
	durationType = reflect.TypeFor[time.Duration]()
)

// expectation describes a valid value.
func (f *field) expectation() string {
	switch {
	case f.want != "":
		return f.want
	case len(f.enum) > 0 && f.typ.Kind() == reflect.Slice:
		return "a list of " + strings.Join(f.enum, ", ")
	case len(f.enum) == 1:
		return f.enum[0]
	case len(f.enum) > 1:
		return "one of " + strings.Join(f.enum, ", ")
	case f.as == "path":
		return "the path of a file or folder"
	case f.as == "size":
		return "a size such as 1024MB"
	case f.as == "interval":
		return "always, or a duration such as 10s"
	case f.typ == durationType:
		return "a duration such as 30s"
	case f.typ == secretType:
		return "a string, ${NAME} or file:PATH"
	}
	switch f.typ.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number from " + f.min + " to " + f.max
	case reflect.Float64:
		return "a part of one: a number above 0 and at most 1, such as 0.01"
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct, reflect.Pointer:
		if inside := namesWithin(f); len(inside) > 0 {
			return "a mapping of fields such as " + inside[0]
		}
		return "a mapping"
	}
	return "a string"
}

func names(fields []field) []string {
	list := make([]string, len(fields))
	for i := range fields {
		list[i] = fields[i].name
	}
	return list
}
