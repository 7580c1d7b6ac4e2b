package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// decoder decodes YAML into structs, according to their tags. It continues after an error, and
// keeps the position of each value for later checks.
type decoder struct {
	file, dir string
	mistakes  Mistakes
	places    map[string]place // by path
	files     Files            // files that were read
	private   []PrivateFile
	trusted   []PrivateFile // see keepTrusted
	plain     string        // path of the first secret in plain text in the file, "" for none
	warnings  Mistakes
	verify    Verify // or nil
}

// place is the position of a value, or of the value that should contain it.
type place struct {
	line, column int
	// bad reports that an error in this value was reported, so that it is not checked further.
	bad bool
	// unread reports that the value could not be decoded, so that what it should contain is missing.
	unread bool
}

// defaulter is a struct with default values.
type defaulter interface{ setDefaults() }

func (d *decoder) mistake(code Code, at place, path, format string, args ...any) {
	d.mistakes = append(d.mistakes, Mistake{
		File: d.file, Line: max(1, at.line), Column: max(1, at.column),
		Path: path, Code: code, Message: fmt.Sprintf(format, args...),
	})
}

// refuse reports an error in the value at path, unless that value is missing because one around it
// is of the wrong kind, which is reported.
func (d *decoder) refuse(code Code, path, format string, args ...any) {
	for outer := parent(path); outer != ""; outer = parent(outer) {
		if d.places[outer].unread {
			return
		}
	}
	at := d.place(path)
	d.mistake(code, at, path, format, args...)
	at.bad = true
	d.places[path] = at
}

// place returns the position of the value at path or, if it is not in the file, of the closest
// enclosing value.
func (d *decoder) place(path string) place {
	for {
		if at, ok := d.places[path]; ok || path == "" {
			at.bad, at.unread = false, false
			return at
		}
		path = parent(path)
	}
}

// parent returns the path of the value that contains the one at path.
func parent(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

// refuseKind reports that the value at path is of the wrong kind, so that nothing in it was read.
func (d *decoder) refuseKind(code Code, path, format string, args ...any) {
	d.refuse(code, path, format, args...)
	at := d.places[path]
	at.unread = true
	d.places[path] = at
}

// given reports whether the file has a value at path.
func (d *decoder) given(path string) bool {
	_, ok := d.places[path]
	return ok
}

// usable reports whether the file has a value at path without a known error.
func (d *decoder) usable(path string) bool {
	at, ok := d.places[path]
	return ok && !at.bad
}

func placeOf(n ast.Node) place {
	switch n := n.(type) {
	case *ast.MappingNode:
		// The token of a block mapping is its first colon: it begins at its first key.
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return placeOf(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return placeOf(n.Key)
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return place{line: t.Position.Line, column: t.Position.Column}
	}
	return place{line: 1, column: 1}
}

// value decodes a node into a value. The field describes the expected content.
func (d *decoder) value(n ast.Node, v reflect.Value, f *field, path string) {
	d.places[path] = placeOf(n)
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		d.refuseKind(codeAnchor, path, noAnchors)
		return
	case *ast.NullNode:
		d.refuseKind(codeNoValue, path, "has no value; expected %s", f.expectation())
		return
	}
	switch {
	case v.Type() == secretType || v.Kind() == reflect.String || v.Kind() == reflect.Bool ||
		v.Kind() == reflect.Int || v.Kind() == reflect.Int64 || v.Kind() == reflect.Float64:
		d.scalar(n, v, f, path)
	case v.Kind() == reflect.Struct:
		if m, ok := d.mapping(n, f, path); ok {
			d.structure(m, v, path)
		}
	case v.Kind() == reflect.Pointer && isText(n):
		d.word(n, v, f, path)
	case v.Kind() == reflect.Pointer:
		if m, ok := d.mapping(n, f, path); ok {
			v.Set(reflect.New(v.Type().Elem()))
			d.structure(m, v.Elem(), path)
		}
	case v.Kind() == reflect.Slice:
		d.list(n, v, f, path)
	case v.Kind() == reflect.Map:
		if m, ok := d.mapping(n, f, path); ok {
			d.secrets(m, v, f, path)
		}
	default:
		panic("config: no rule for a field of type " + v.Type().String())
	}
}

// worder is a struct that a single word may represent.
type worder interface{ setWord(word string) bool }

func isText(n ast.Node) bool {
	_, _, ok := textOf(n)
	return ok
}

// word decodes a single word that represents a mapping.
func (d *decoder) word(n ast.Node, v reflect.Value, f *field, path string) {
	text, _, _ := textOf(n)
	whole := reflect.New(v.Type().Elem())
	if w, ok := whole.Interface().(worder); ok && w.setWord(text) {
		v.Set(whole)
		return
	}
	d.refuseKind(codeKind, path, "is %s; expected %s", kindOf(n), f.expectation())
}

// mapping returns the entries of a mapping, or reports an error.
func (d *decoder) mapping(n ast.Node, f *field, path string) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	hint := ""
	if text, _, ok := textOf(n); ok && strings.Contains(text, ":") {
		hint = ": a space follows the colon of each name"
	}
	d.refuseKind(codeKind, path, "is %s; expected %s%s", kindOf(n), f.expectation(), hint)
	return nil, false
}

// list decodes a list; an element with an error keeps its position.
func (d *decoder) list(n ast.Node, v reflect.Value, f *field, path string) {
	element := *f
	element.typ, element.want = v.Type().Elem(), ""
	if f.as == "paths" {
		element.as = "path"
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok && f.as == "paths" {
		element.want = f.want
		s := reflect.MakeSlice(v.Type(), 1, 1)
		d.value(n, s.Index(0), &element, path)
		v.Set(s)
		return
	}
	if !ok {
		hint := ""
		switch n.(type) {
		case *ast.MappingNode, *ast.MappingValueNode:
			hint = ": a dash begins each of them"
		}
		d.refuseKind(codeKind, path, "is %s; expected %s%s", kindOf(n), f.expectation(), hint)
		return
	}
	s := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
	for i, n := range seq.Values {
		d.value(n, s.Index(i), &element, fmt.Sprintf("%s[%d]", path, i))
	}
	v.Set(s)
}

// plainKey matches keys that a message may quote. Other keys may contain a secret, if a colon or a
// line break was forgotten.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,40}$`)

// keys returns the entries by their keys and in the order of the file, and reports invalid keys.
// After an invalid key, complete is false: it may stand for a field that is missing.
func (d *decoder) keys(entries []*ast.MappingValueNode, path string) (names []string, nodes map[string]*ast.MappingValueNode, complete bool) {
	complete = true
	nodes = make(map[string]*ast.MappingValueNode, len(entries))
	for _, e := range entries {
		at := placeOf(e.Key)
		var name string
		switch k := e.Key.(type) {
		case *ast.StringNode:
			name = k.Value
		case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
			name = k.GetToken().Value
		case *ast.MergeKeyNode, *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
			complete = false
			d.mistake(codeAnchor, at, path, noAnchors)
			continue
		default:
			complete = false
			d.mistake(codeKey, at, path, "has a key that is not a plain word; expected the name of a field")
			continue
		}
		if first, twice := nodes[name]; twice {
			d.mistake(codeTwice, at, path, "%s occurs twice, first on line %d; expected it once", quoteKey(name), placeOf(first.Key).line)
			continue
		}
		nodes[name] = e
		names = append(names, name)
	}
	return names, nodes, complete
}

func quoteKey(name string) string {
	if plainKey.MatchString(name) {
		return `"` + name + `"`
	}
	return "the field"
}

// structure decodes a mapping into a struct, after setting defaults. Entries may be nil: then only
// the defaults are set, and missing required fields are reported.
func (d *decoder) structure(entries []*ast.MappingValueNode, v reflect.Value, path string) {
	setDefaults(v)
	fields, variants := fieldsOf(v.Type())
	given, nodes, complete := d.keys(entries, path)

	// target is a field and the struct that contains it: v, or the struct of the variant.
	type target struct {
		field *field
		in    reflect.Value
	}
	targets := make(map[string]target)
	for i := range fields {
		targets[fields[i].name] = target{&fields[i], v}
	}
	allowed := names(fields)
	typeName := ""
	if len(variants) > 0 {
		if n := nodes["type"]; n != nil {
			if s, ok := n.Value.(*ast.StringNode); ok {
				typeName = s.Value
			}
		}
	}
	variantAt := slices.IndexFunc(variants, func(va variant) bool { return va.name == typeName })
	if variantAt >= 0 {
		va := variants[variantAt]
		in := reflect.New(va.typ)
		setDefaults(in.Elem())
		v.Field(va.index).Set(in)
		for i := range va.fields {
			targets[va.fields[i].name] = target{&va.fields[i], in.Elem()}
		}
		allowed = append(allowed, names(va.fields)...)
	}

	// Possible names of a field, for messages.
	known := allowed
	if variantAt < 0 {
		for _, va := range variants {
			known = append(slices.Clone(known), names(va.fields)...)
		}
	}
	meant := make(map[string]bool) // fields that were probably meant by an unknown one
	for _, name := range given {
		node := nodes[name]
		if t, ok := targets[name]; ok {
			if _, isNull := node.Value.(*ast.NullNode); isNull && childFollows(t.field, given, allowed) {
				d.places[join(path, name)] = place{line: placeOf(node.Key).line, column: placeOf(node.Key).column, bad: true, unread: true}
				continue // reported at that child
			}
			d.value(node.Value, t.in.FieldByIndex(t.field.index), t.field, join(path, name))
			continue
		}
		owner := slices.IndexFunc(variants, func(va variant) bool { return slices.Contains(names(va.fields), name) })
		switch {
		case owner >= 0 && variantAt < 0:
			// The type itself is wrong, and is reported.
		case owner >= 0:
			if likely := meantBy(name, allowed, nil); likely != "" {
				meant[likely] = true
			}
			d.mistake(codeOtherType, placeOf(node.Key), join(path, name), "is a field of the type %s, and this one is of the type %s; %s",
				variants[owner].name, typeName, insteadOf(name, allowed))
		default:
			var missing []string
			for _, a := range known {
				if nodes[a] == nil {
					missing = append(missing, a)
				}
			}
			if likely := meantBy(name, allowed, missing); likely != "" {
				meant[likely] = true
			}
			if outer := emptyBefore(fields, given, nodes, name); outer != "" {
				d.mistake(codeIndentation, placeOf(node.Key), join(path, outer), "has no value, and %s, which is a field of it, is not indented below; expected it indented by two spaces more than %s", quoteKey(name), outer)
				continue
			}
			at, message := path, "has an unknown field"
			switch {
			case plainKey.MatchString(name):
				at, message = join(path, name), "is an unknown field"
			case strings.Contains(name, ":"):
				message = "has an unknown field with a colon in its name, perhaps because no space follows the colon"
			}
			d.mistake(codeUnknown, placeOf(node.Key), at, "%s%s", message, unknownField(name, allowed, known))
		}
	}

	for _, name := range allowed {
		t := targets[name]
		if nodes[name] != nil {
			continue
		}
		value := t.in.FieldByIndex(t.field.index)
		at := join(path, name)
		switch {
		case t.field.required && complete && !meant[name]:
			d.mistake(codeMissing, d.place(path), at, "is missing; expected %s", t.field.expectation())
		case t.field.required: // what was meant, or may be, is reported
			whole := d.place(path)
			d.places[at] = place{line: whole.line, column: whole.column, bad: true}
		case value.Kind() == reflect.Struct && value.Type() != secretType:
			d.structure(nil, value, at)
		case t.field.as == "path" && value.String() != "":
			value.SetString(resolvePath(d.dir, value.String()))
		case t.field.as == "paths":
			for i := range value.Len() {
				value.Index(i).SetString(resolvePath(d.dir, value.Index(i).String()))
			}
		}
	}
}

func setDefaults(v reflect.Value) {
	if df, ok := v.Addr().Interface().(defaulter); ok {
		df.setDefaults()
	}
}

// secrets decodes a map of names to secrets.
func (d *decoder) secrets(entries []*ast.MappingValueNode, v reflect.Value, f *field, path string) {
	given, nodes, _ := d.keys(entries, path)
	element := field{typ: secretType, as: f.as}
	m := reflect.MakeMap(v.Type())
	for _, name := range given {
		s := reflect.New(secretType).Elem()
		check := checkHeaderName
		if f.as == "env" {
			check = checkEnvName
		}
		if problem := check(name); problem != "" {
			d.mistake(codeKey, placeOf(nodes[name].Key), path, "%s", problem)
			continue
		}
		d.value(nodes[name].Value, s, &element, join(path, name))
		m.SetMapIndex(reflect.ValueOf(name), s)
	}
	v.Set(m)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// kindOf describes the kind of a node, without its content.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode, *ast.LiteralNode:
		return "a string"
	case *ast.BoolNode:
		return "true or false"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.NullNode:
		return "without a value"
	}
	return "of another kind"
}
