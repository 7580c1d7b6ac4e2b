package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

// segmentOf is a message of LOGS with records of these sequences, as the admin address answers it.
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

// TestFollower: an answer that is cut, in the middle of a message too, a server that stops, and one
// that does not answer are asked again, and no record is given twice or left out. What is refused
// at first is an error.
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
	stream := &replay.Stream{Address: strings.TrimPrefix(server.URL, "http://"), Now: true}
	var told []string
	f := follower{stream: stream, lost: func(err error) { told = append(told, fmt.Sprint(err)) }}
	var got []uint64
	err := f.run(t.Context(), func(r *replay.Record) error {
		got = append(got, r.Sequence)
		if r.Sequence == 4 {
			return errOver
		}
		return nil
	})
	if err != nil || !slices.Equal(got, []uint64{1, 2, 3, 4}) || !slices.Equal(asked, []string{"now", "7", "7", "8"}) || len(told) != 3 || !strings.Contains(told[2], "stop") {
		t.Errorf("%v: records %v, asked %q, told %q", err, got, asked, told)
	}
	answers = []func(w http.ResponseWriter){func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) }}
	if err := f.run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "401") {
		t.Error(err)
	}
}
