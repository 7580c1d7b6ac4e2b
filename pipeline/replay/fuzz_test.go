package replay

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"github.com/ttydrain/ttydrain/pipeline/replay/replaytest"
)

// FuzzFiles checks that reading any file ends, and returns complete records with their places.
func FuzzFiles(f *testing.F) {
	s := replaytest.NewSession(f, replaytest.Key(f), "42", replaytest.Options{Pieces: 23, Gap: true, Long: true})
	for _, form := range append(replaytest.Forms(), replaytest.PartedForms()...) {
		f.Add(form.Join(form.Write(f, s.Entries())))
	}
	f.Add([]byte(`[{"operation_id":"1","event":"end","sequence":18446744073709551615,"bytes":-1}`))
	f.Add([]byte("99999999 <13>1 - - - - - -"))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Add([]byte("\x28\xb5\x2f\xfd"))
	f.Add([]byte(`{"lines":[{"line":"x","meta":{"operation_id":"1","event":"gap","last_sequence":3}}]}{{[`))
	f.Fuzz(func(t *testing.T, data []byte) {
		read, parts := 0, 0
		var place Place
		v := Visitor{
			Record: func(r *Record) error {
				if r.Part.Total > 0 {
					parts++
				} else {
					read++
				}
				if r.Operation == nil || r.Operation.ID == "" || r.Place.Line < place.Line || r.Lost.Has(LostLog) && len(r.Log) > 0 {
					t.Fatalf("%+v after %v", r, place)
				}
				place = r.Place
				return nil
			},
			Broken: func(b Broken) {
				if b.What == "" || !utf8.ValidString(b.What) {
					t.Fatalf("%+v", b)
				}
			},
		}
		if err := (&Files{Names: []string{"-"}, Stdin: bytes.NewReader(data)}).Read(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		given := 0
		summary, err := sessions(t.Context(), inMemory(data), Selection{}, 2000, func(s *Session) error {
			given += len(s.Records) + len(s.Gaps) + s.Repeats
			for f := range s.Frames() {
				_ = f
			}
			return nil
		})
		if err != nil || given+summary.Tests < read || given+summary.Tests > read+parts || given != summary.Records {
			t.Fatalf("%d records of %d: %+v, %v", given, read, summary, err)
		}
	})
}
