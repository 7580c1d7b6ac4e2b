package replay

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/replay/replaytest"
	"github.com/ttydrain/ttydrain/schema"
)

// all reads a copy whole.
func all(t testing.TB, c Copy, sel Selection, limit int) ([]*Session, Summary) {
	t.Helper()
	var list []*Session
	summary, err := sessions(t.Context(), c, sel, limit, func(s *Session) error {
		list = append(list, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list, func(a, b *Session) int { return bytes.Compare([]byte(a.Operation.ID), []byte(b.Operation.ID)) })
	return list, summary
}

// TestCopies reads shuffled and duplicated copies in all forms, and expects the original sessions.
func TestCopies(t *testing.T) {
	key := replaytest.Key(t)
	random := rand.New(rand.NewPCG(1, 2))
	for _, f := range append(replaytest.Forms(), replaytest.PartedForms()...) {
		var units [][]byte
		want := make(map[string][]schema.Record)
		for _, id := range []string{"41", "42"} {
			s := replaytest.NewSession(t, key, id, replaytest.Options{Pieces: 40, Gap: true, Long: true})
			want[id] = s.Records
			units = append(units, f.Write(t, s.Entries())...)
		}
		for _, disorder := range []string{"", "shuffled and duplicated", "spooled"} {
			t.Run(f.Name+" "+disorder, func(t *testing.T) {
				copied, limit := slices.Clone(units), memoryLimit
				if disorder != "" {
					copied = append(copied, units...)
					random.Shuffle(len(copied), func(i, j int) { copied[i], copied[j] = copied[j], copied[i] })
				}
				if disorder == "spooled" {
					limit = 20_000
				}
				list, summary := all(t, inMemory(f.Join(copied)), Selection{}, limit)
				if len(list) != 2 || summary.BrokenCount > 0 || summary.Records != len(copied) {
					t.Fatalf("%d sessions, %+v of %d", len(list), summary, len(copied))
				}
				for _, s := range list {
					compare(t, s, want[s.Operation.ID], f)
					if repeats := map[bool]int{true: len(want[s.Operation.ID])}[disorder != ""]; s.Repeats != repeats && !strings.Contains(f.Name, "headless") {
						t.Errorf("%d repeats, want %d", s.Repeats, repeats)
					}
				}
			})
		}
	}
}

func compare(t *testing.T, s *Session, want []schema.Record, f replaytest.Form) {
	t.Helper()
	got := slices.Collect(s.Transcript())
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	if s.Operation.User.ID != "u-"+s.Operation.ID && f.JSON {
		t.Errorf("the user's ID is %q", s.Operation.User.ID)
	}
	for i, r := range got {
		w := want[i]
		what := fmt.Sprintf("record %d of %s", i+1, s.Operation.ID)
		if len(r.Faults) > 0 {
			t.Fatalf("%s has faults: %q at %s", what, r.Faults, r.Place)
		}
		if r.Lost.Has(LostLog) == f.Bytes && w.Event == schema.EventOutput {
			t.Fatalf("%s: lost is %b", what, r.Lost)
		}
		if f.Bytes && (!bytes.Equal(r.Log, w.Log) || !bytes.Equal(r.Timing, w.Timing)) {
			t.Fatalf("%s: %q %q, want %q %q", what, r.Log, r.Timing, w.Log, w.Timing)
		}
		if r.Event != w.Event || r.Sequence != w.Sequence || r.Offset != w.Offset || r.Digest != w.Digest || r.Partial != w.Partial || r.Stream != w.Stream || !bytes.Equal(r.Text, w.Text) {
			t.Fatalf("%s: %+v, want %+v", what, r.Record, w)
		}
		if f.TextDigests && r.TextDigest != w.TextDigest {
			t.Fatalf("%s: text digest %s", what, r.TextDigest)
		}
		if w.Detail != nil && !strings.Contains(f.Name, "headless") && fmt.Sprint(r.Span()) != fmt.Sprint(w.Span()) {
			t.Fatalf("%s: %+v", what, r.Detail)
		}
	}
	if !f.Bytes {
		return
	}
	var out, want2 []byte
	clock := int64(0)
	for frame := range s.Frames() {
		if frame.Time < clock {
			t.Fatal("time goes back")
		}
		clock = frame.Time
		out = append(out, frame.Bytes...)
	}
	for _, w := range want {
		want2 = append(want2, w.Log...)
	}
	if !bytes.Equal(out, want2) {
		t.Errorf("the frames are not the session's output")
	}
}

// TestStreamCopy reads a copy through the admin API, and checks that a truncated response is an
// error.
func TestStreamCopy(t *testing.T) {
	s := replaytest.NewSession(t, replaytest.Key(t), "42", replaytest.Options{Pieces: 60})
	whole := framed(s.Segments, "")
	list, _ := all(t, streamed(t, whole), Selection{}, memoryLimit)
	if len(list) != 1 || list[0].Lost != 0 || list[0].Operation.User.ID != "u-42" {
		t.Fatalf("%+v", list)
	}
	compare(t, list[0], s.Records, replaytest.Form{Name: "stream", Bytes: true, TextDigests: true, JSON: true})
	for name, body := range map[string][]byte{"cut": whole[:len(whole)-2], "cut in a segment": whole[:len(whole)/2], "with a reason": framed(s.Segments, "the bus is gone")} {
		err := streamed(t, body).Read(t.Context(), Visitor{Record: func(*Record) error { return nil }})
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// inMemory is a copy that is a text.
type inMemory []byte

func (m inMemory) Grouped() bool { return false }

func (m inMemory) Read(ctx context.Context, v Visitor) error {
	return (&Files{Names: []string{"-"}, Stdin: bytes.NewReader(m)}).Read(ctx, v)
}

// framed is what the admin address answers.
func framed(segments [][]byte, end string) []byte {
	var all []byte
	for i, s := range segments {
		all = binary.AppendUvarint(all, uint64(i)+1)
		all = binary.AppendUvarint(all, uint64(len(s)))
		all = append(all, s...)
	}
	all = append(all, 0)
	return append(binary.AppendUvarint(all, uint64(len(end))), end...)
}

// streamed is a copy of the stream's segments, as the admin address answers.
func streamed(t testing.TB, body []byte) *Stream {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(body) }))
	t.Cleanup(server.Close)
	return &Stream{Address: strings.TrimPrefix(server.URL, "http://")}
}
