package elasticsearch

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch/estest"
	"github.com/ttydrain/ttydrain/sinks/sinktest"
)

var nodes estest.Shared

func TestMain(m *testing.M) { os.Exit(nodes.Main(m)) }

// patience bounds what should happen at once.
const patience = time.Minute

func newSink(t testing.TB, o Options) *Sink {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func write(t testing.TB, s *Sink, batch []sinks.Entry) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return s.Write(ctx, batch)
}

func mustWrite(t testing.TB, s *Sink, batch []sinks.Entry) {
	t.Helper()
	if err := write(t, s, batch); err != nil {
		t.Fatalf("Write: %v", err)
	}
}

// failure is the *sinks.Error that an operation must have returned.
func failure(t testing.TB, err error) *sinks.Error {
	t.Helper()
	var e *sinks.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is a %T, want a *sinks.Error: %v", err, err)
	}
	if e.Reason == "" {
		t.Fatalf("the error has no Reason: %v", err)
	}
	return e
}

// wantFailure checks the verdict on a whole batch.
func wantFailure(t testing.TB, err error, verdict sinks.Verdict, status int, words string) {
	t.Helper()
	e := failure(t, err)
	if e.Verdict != verdict || e.Status != status || len(e.Items) != 0 || !strings.Contains(e.Error(), words) {
		t.Fatalf("error is %v, status %d, %d items: %v\nwant %v, status %d, no items, and the words %q", e.Verdict, e.Status, len(e.Items), e, verdict, status, words)
	}
}

func entries(n int) []sinks.Entry { return sinktest.Entries(rand.Uint64(), n) }

// withTexts makes output records of one operation.
func withTexts(texts ...string) []sinks.Entry {
	batch := entries(len(texts))
	op := *batch[0].Operation
	for i := range batch {
		r := *batch[i].Record
		r.Event, r.Detail = schema.EventOutput, nil
		r.Sequence, r.Text = uint64(i+1), []byte(texts[i])
		batch[i] = sinks.Entry{Operation: &op, Record: &r}
	}
	return batch
}

func install(t testing.TB, node *estest.Node, dataStream string) {
	t.Helper()
	name, body := IndexTemplate(dataStream)
	node.Do(t, "PUT", "/_index_template/"+name, json.RawMessage(body))
}

// hostPort is the address of a node.
func hostPort(t testing.TB, node *estest.Node) string {
	t.Helper()
	u, err := url.Parse(node.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// A document is what the tests look at in a record.
type document struct {
	OperationID string  `json:"operation_id"`
	Sequence    uint64  `json:"sequence"`
	Event       string  `json:"event"`
	Log         string  `json:"log"`
	LogBase64   *string `json:"log_base64"`
	Text        string  `json:"text"`
	Region      string  `json:"region"`
}

func search(t testing.TB, node *estest.Node, dataStream string, query any) []document {
	t.Helper()
	var found []document
	for _, source := range node.Search(t, dataStream, query) {
		var d document
		if err := json.Unmarshal(source, &d); err != nil {
			t.Fatal(err)
		}
		found = append(found, d)
	}
	return found
}

func (d *document) bytes(t testing.TB) []byte {
	t.Helper()
	if d.LogBase64 == nil {
		return []byte(d.Log)
	}
	b, err := base64.StdEncoding.DecodeString(*d.LogBase64)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// logTo is a log that a test reads.
func logTo(b *strings.Builder) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, nil))
}
