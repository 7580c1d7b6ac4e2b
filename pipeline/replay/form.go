package replay

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/receive"
	"github.com/ttydrain/ttydrain/schema"
)

// form describes the JSON objects that ttydrain writes.
type form struct {
	// fields numbers the names of fields, from 0; it has at most 64.
	fields map[string]int
	// required are the fields of every record, as in the JSON Schema, by their numbers.
	required uint64
}

// recordForm returns the form of the records of this version. Only readers of copies need it.
var recordForm = sync.OnceValue(func() *form {
	f := &form{fields: make(map[string]int)}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[receive.Record]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !slices.Contains(onlySyslog, name) {
			f.fields[name] = len(f.fields)
		}
	}
	var s struct{ Required []string }
	if err := json.Unmarshal(schema.RecordSchema(), &s); err != nil || len(f.fields) > 64 {
		panic("replay: the schema of records is not readable, or has too many fields") // it is part of the program
	}
	for _, name := range s.Required {
		f.required |= 1 << f.fields[name]
	}
	return f
})

// Deviations from the form.
const (
	twice    = "a field occurs twice"
	isOther  = "it has fields that ttydrain does not write, and nothing proves them: "
	hasNo    = "it lacks fields that every record has: "
	maxNamed = 8 // names in a deviation
)

// inspect compares a record's object with the form of ttydrain's. It adds fields that occur twice
// to the faults, and other deviations to Form. If shaped is set, the drain's or the
// receiver's form is another one, with fields of its own.
func (f *form) inspect(r *Record, object []byte, shaped bool) {
	var seen uint64
	others := make(map[string]bool) // a record of somebody else can have any number
	eachName(object, func(name []byte) {
		i, known := f.fields[string(name)]
		if !known {
			folded := foldName(name)
			if others[folded] {
				r.fault(twice)
			}
			others[folded] = true
			if i, known = f.fields[folded]; !known { // the decoder ignores case
				return
			}
		}
		if seen&(1<<i) != 0 {
			r.fault(twice)
		}
		seen |= 1 << i
	})
	if shaped {
		return
	}
	if len(others) > 0 {
		r.Form = append(r.Form, isOther+nameList(slices.Collect(maps.Keys(others))))
	}
	if missing := f.required &^ seen; missing != 0 {
		var names []string
		for name, i := range f.fields {
			if missing&(1<<i) != 0 {
				names = append(names, name)
			}
		}
		r.Form = append(r.Form, hasNo+nameList(names))
	}
}

// onlySyslog are the parameters of syslog messages that are no fields of JSON.
var onlySyslog = []string{"text_digest", "part", "part_offset", "altered", "omitted"}

// inspectParams is inspect for the parameters of a syslog message.
func (f *form) inspectParams(r *Record, element receive.Element) {
	var others []string
	for name, values := range element {
		if len(values) > 1 {
			r.fault(twice)
		}
		if _, known := f.fields[name]; !known && !slices.Contains(onlySyslog, name) {
			others = append(others, name)
		}
	}
	if len(others) > 0 {
		r.Form = append(r.Form, isOther+nameList(others))
	}
}

// fault adds a fault once.
func (r *Record) fault(what string) {
	if !slices.Contains(r.Faults, what) {
		r.Faults = append(r.Faults, what)
	}
}

// foldName returns a name so that names between which encoding/json does not distinguish are equal.
func foldName(name []byte) string { return strings.ToLower(strings.ToUpper(string(name))) }

// nameList lists names of fields. A name that may be content is only counted.
func nameList(names []string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	shown := names[:min(len(names), maxNamed)]
	for i, name := range shown {
		if len(name) > 40 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-.@") != "" {
			shown[i] = "?"
		}
	}
	list := strings.Join(shown, ", ")
	if len(names) > maxNamed {
		list += ", …"
	}
	return list
}

// eachName calls each for the name of every field of an object, which must be valid JSON.
func eachName(object []byte, each func(name []byte)) {
	depth, isName := 0, false
	for i := 0; i < len(object); i++ {
		switch object[i] {
		case '{', '[':
			depth++
			isName = depth == 1
		case '}', ']':
			depth--
		case ',':
			isName = depth == 1
		case '"':
			end := i + 1
			for end < len(object) && object[end] != '"' {
				if object[end] == '\\' {
					end++
				}
				end++
			}
			if isName && end < len(object) {
				each(unquoted(object[i : end+1]))
			}
			i, isName = end, false
		}
	}
}

// unquoted returns the value of a JSON string.
func unquoted(quoted []byte) []byte {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') < 0 {
		return name
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return name
	}
	return []byte(s)
}

// inspectConstants adds faults for fields that have the same value in every record of ttydrain, and
// for the two times, of which a late record has the one of its delivery.
func inspectConstants(r *Record, w *wireRecord) {
	for _, c := range []struct{ name, value, want string }{{"@version", w.Version, "1"}, {"type", w.Type, "json"}, {"source", w.Record.Source, "ssh"}} {
		if c.value != "" && c.value != c.want {
			r.fault(c.name + " is not what every record has")
		}
	}
	if !w.Late && !w.Timestamp.IsZero() && !w.Time.IsZero() && !sameTime(w.Timestamp, w.Time) {
		r.fault("time and @timestamp contradict each other")
	}
}

// sameTime reports whether two times are equal, as exactly as the less exact one is: a receiver may
// keep milliseconds of one of them.
func sameTime(a, b time.Time) bool {
	if a.Nanosecond()%1e6 == 0 || b.Nanosecond()%1e6 == 0 {
		return a.Truncate(time.Millisecond).Equal(b.Truncate(time.Millisecond))
	}
	return a.Equal(b)
}
