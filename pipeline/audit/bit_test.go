package audit

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/receive"
	"github.com/ttydrain/ttydrain/pipeline/replay/replaytest"
)

// unproven are the fields of a record that nothing proves: see the package documentation.
var unproven = map[string][]string{
	"ndjson":       {},
	"syslog exact": {},
	"syslog":       {"Offset", "Digest"},
}

// TestEveryBit flips each bit of a copy, and expects a finding unless nothing proves the field.
func TestEveryBit(t *testing.T) {
	key := replaytest.Key(t)
	checker := &Checker{Keys: keySet(t, key)}
	s := replaytest.NewSession(t, key, "42", replaytest.Options{Pieces: 12})
	for _, f := range replaytest.Forms() {
		fields, ok := unproven[f.Name]
		if !ok {
			continue
		}
		data := f.Join(f.Write(t, s.Entries()))
		lines := bytes.Split(data, []byte("\n"))
		random := rand.New(rand.NewPCG(7, 8))
		found := 0
		for range 300 {
			changed := bytes.Clone(data)
			at, bit := random.IntN(len(data)), random.IntN(8)
			changed[at] ^= 1 << bit
			results, summary := audited(t, checker, changed)
			if len(results) > 1 || findings(results, false) != "" || summary.BrokenCount > 0 {
				found++
				continue
			}
			number := bytes.Count(data[:at], []byte("\n"))
			now := bytes.Split(changed, []byte("\n"))
			if len(now) != len(lines) {
				continue // white space between the records
			}
			before, after := fieldsOf(f, lines[number]), fieldsOf(f, now[number])
			for i := range before.NumField() {
				name := before.Type().Field(i).Name
				if name == "File" && after.Field(i).IsZero() { // which has the operation's ID once more
					continue
				}
				if !reflect.DeepEqual(before.Field(i).Interface(), after.Field(i).Interface()) && !slices.Contains(fields, name) {
					t.Errorf("%s: bit %d of byte %d is in %s, and nothing is reported:\n%s", f.Name, bit, at, name, now[number])
				}
			}
		}
		if found < 200 {
			t.Errorf("%s: of 300 changes, only %d are reported", f.Name, found)
		}
		t.Logf("%s: of 300 changes, %d are reported", f.Name, found)
	}
}

// fieldsOf are the fields of a record.
func fieldsOf(f replaytest.Form, line []byte) reflect.Value {
	var r receive.Record
	if f.JSON {
		_ = json.Unmarshal(line, &r) // what can't be read was reported
	} else if m, err := receive.ParseMessage(line); err == nil {
		r = receive.RecordOf(m)
	}
	return reflect.ValueOf(r)
}
