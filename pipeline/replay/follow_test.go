package replay

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ttydrain/ttydrain/schema"
)

// segmentOf returns a message of LOGS with records of these sequences, as the admin API returns it.
func segmentOf(t testing.TB, message uint64, sequences ...uint64) []byte {
	t.Helper()
	op := &schema.Operation{ID: "42", App: "web"}
	described, err := json.Marshal(op)
	if err != nil {
		t.Fatal(err)
	}
	s := schema.Segment{Operation: op}
	for _, sequence := range sequences {
		s.Records = append(s.Records, schema.Record{Sequence: sequence, Offset: sequence, Time: 1, Log: []byte("x")})
	}
	data, err := schema.AppendSegment(nil, described, &s)
	if err != nil {
		t.Fatal(err)
	}
	framed := binary.AppendUvarint(nil, message)
	return append(binary.AppendUvarint(framed, uint64(len(data))), data...)
}

// TestFollower: after an answer that is cut, in the middle of a message too, a server that stops,
// and one that does not answer, it asks again; no record comes twice or is left out. A refusal of
// the first request is an error.
func TestFollower(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex // guards asked and answers
	var asked []string
	answers := []func(w http.ResponseWriter){
		func(w http.ResponseWriter) { w.Write(segmentOf(t, 7, 1, 2)); w.Write(segmentOf(t, 9, 3, 4)[:20]) },
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		func(w http.ResponseWriter) {
			w.Write(segmentOf(t, 8, 2, 3)) // with one that was there before
			w.Write(append([]byte{0, 4}, "stop"...))
		},
		func(w http.ResponseWriter) { w.Write(segmentOf(t, 9, 4)) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.URL.Query().Get("after")+r.URL.Query().Get("from"))
		answer := answers[0]
		answers = answers[1:]
		answer(w)
	}))
	defer server.Close()
	stream := &Stream{Address: strings.TrimPrefix(server.URL, "http://"), Now: true}
	var interrupted []string
	f := Follower{Stream: stream, Interrupted: func(err error) { interrupted = append(interrupted, fmt.Sprint(err)) }}
	enough := errors.New("enough")
	var got []uint64
	err := f.Run(t.Context(), func(r *Record) error {
		got = append(got, r.Sequence)
		if r.Sequence == 4 {
			return enough
		}
		return nil
	})
	if err != enough || !slices.Equal(got, []uint64{1, 2, 3, 4}) || !slices.Equal(asked, []string{"now", "7", "7", "8"}) || len(interrupted) != 3 || !strings.Contains(interrupted[2], "stop") {
		t.Errorf("%v: records %v, asked %q, interrupted by %q", err, got, asked, interrupted)
	}
	answers = []func(w http.ResponseWriter){func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) }}
	if err := f.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "401") {
		t.Error(err)
	}
}

// TestRecent reads the last lines of a stream, and goes on after them.
func TestRecent(t *testing.T) {
	t.Parallel()
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		asked = append(asked, fmt.Sprintf("%t %s %s", q.Has("since"), q.Get("after"), q.Get("follow")))
		switch {
		case q.Get("after") == "": // the records are too old for the shorter periods
			w.Write(segmentOf(t, 7, 1, 2))
			w.Write(segmentOf(t, 9, 3, 4))
			w.Write([]byte{0, 0})
		case q.Get("follow") == "true":
			w.Write(segmentOf(t, 10, 5))
		}
	}))
	defer server.Close()
	var got []uint64
	enough := errors.New("enough")
	each := func(r *Record) error {
		got = append(got, r.Sequence)
		if r.Sequence == 5 {
			return enough
		}
		return nil
	}
	f := Follower{Stream: &Stream{Address: server.URL}, Selection: Selection{App: "web"}, Interrupted: func(err error) { t.Error(err) }}
	ended, err := f.Recent(t.Context(), 3, each)
	if err != nil || ended || !slices.Equal(got, []uint64{2, 3, 4}) {
		t.Fatalf("%t, %v: records %v", ended, err, got)
	}
	if want := []string{"true  ", "true  ", "true  ", "false  "}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
	if err := f.Run(t.Context(), each); err != enough || !slices.Equal(got, []uint64{2, 3, 4, 5}) || asked[len(asked)-1] != "false 9 true" {
		t.Errorf("%v: records %v, asked %q", err, got, asked)
	}
	got = nil
	other := Follower{Stream: &Stream{Address: server.URL}, Selection: Selection{App: "api"}}
	if _, err := other.Recent(t.Context(), 3, each); err != nil || got != nil {
		t.Errorf("%v: records %v of another app", err, got)
	}
}
