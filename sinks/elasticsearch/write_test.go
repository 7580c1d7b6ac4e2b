package elasticsearch

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

func TestID(t *testing.T) {
	op := &schema.Operation{ID: "4711", Started: time.Date(2026, 3, 14, 15, 9, 26, 535897932, time.UTC)}
	made := new(ids)
	if got, want := string(made.append(nil, op, &schema.Record{Sequence: 12})), `"4711-dh2lmgh9gz7w-12"`; got != want {
		t.Errorf("_id is %s, want %s: those of records that were written already must not change", got, want)
	}
	// The moment is the same after the operation has been over the wire.
	data, err := json.Marshal(op)
	if err != nil {
		t.Fatal(err)
	}
	var again schema.Operation
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	gap := &schema.Record{Sequence: 12, Event: schema.EventGap, Detail: &schema.Detail{LastSequence: 14}}
	if got, want := string(made.append(nil, op, gap)), `"4711-dh2lmgh9gz7w-12-gap"`; got != want {
		t.Errorf("the _id of a gap of records is %s, want %s", got, want)
	}
	if a, b := made.append(nil, op, &schema.Record{Sequence: 12}), made.append(nil, &again, &schema.Record{Sequence: 12}); !bytes.Equal(a, b) {
		t.Errorf("_id changes from %s to %s", a, b)
	}
	// That of another operation is its own, and what is kept of one is nothing of the next.
	other := *op
	other.ID = "47\"12"
	for range 2 {
		for want, of := range map[string]*schema.Operation{`"4711-dh2lmgh9gz7w-7"`: op, `"47\"12-dh2lmgh9gz7w-7"`: &other} {
			if got := string(made.append(nil, of, &schema.Record{Sequence: 7})); got != want {
				t.Errorf("_id is %s, want %s", got, want)
			}
		}
	}
}

// TestEncode splits a batch by bytes and finds every record again, once and in order.
func TestEncode(t *testing.T) {
	batch := entries(2000)
	for _, limit := range []int{1, 5_000, 100_000, 1 << 20, 10 << 20} {
		s := newSink(t, Options{URLs: []string{"http://127.0.0.1:1"}, DataStream: "logs-ssh-test", MaxRequestBytes: limit})
		var ids []string
		requests := 0
		d := s.senders.Get().(*sender)
		for start := 0; start < len(batch); requests++ {
			n, err := d.encode(batch[start:])
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				t.Fatalf("limit %d: no progress at record %d", limit, start)
			}
			end := start + n
			if len(d.body) > limit && n > 1 {
				t.Fatalf("limit %d: %d records have %d bytes", limit, n, len(d.body))
			}
			lines := bytes.Split(bytes.TrimSuffix(d.body, []byte("\n")), []byte("\n"))
			if len(lines) != 2*(end-start) {
				t.Fatalf("limit %d: %d records make %d lines", limit, end-start, len(lines))
			}
			for i := start; i < end; i++ {
				var action struct {
					Create struct {
						ID string `json:"_id"`
					}
				}
				var doc document
				if err := errors.Join(json.Unmarshal(lines[2*(i-start)], &action), json.Unmarshal(lines[2*(i-start)+1], &doc)); err != nil {
					t.Fatal(err)
				}
				if doc.OperationID != batch[i].Operation.ID || doc.Sequence != batch[i].Record.Sequence || !bytes.Equal(doc.bytes(t), batch[i].Record.Log) {
					t.Fatalf("record %d is not what was given", i)
				}
				ids = append(ids, action.Create.ID)
			}
			start = end
		}
		if limit == 1 && requests != len(batch) || limit == 5_000 && requests < 50 || limit == 10<<20 && requests != 1 {
			t.Errorf("limit %d: %d requests", limit, requests)
		}
		slices.Sort(ids)
		if n := len(slices.Compact(ids)); n != len(batch) {
			t.Errorf("limit %d: %d different _id for %d records", limit, n, len(batch))
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := Options{URLs: []string{"http://127.0.0.1:9200", "https://es.example.com/path"}, DataStream: "logs-ssh-default"}
	newSink(t, good)
	for words, change := range map[string]func(*Options){
		"urls is empty":             func(o *Options) { o.URLs = nil },
		"urls[0] does not begin":    func(o *Options) { o.URLs = []string{"es.example.com:9200"} },
		"and a host":                func(o *Options) { o.URLs = []string{"http:///path"} },
		"to end with the host":      func(o *Options) { o.URLs = []string{"http://127.0.0.1:9200/?x=1"} },
		"urls[0] is not a URL":      func(o *Options) { o.URLs = []string{"http://u:secret@[bad"} },
		"has credentials in it":     func(o *Options) { o.URLs = []string{"http://u:secret@127.0.0.1"} },
		"data_stream is missing":    func(o *Options) { o.DataStream = "" },
		"without spaces and upper":  func(o *Options) { o.DataStream = "Logs" },
		"begins with none of - _":   func(o *Options) { o.DataStream = ".logs" },
		"expected at most 255":      func(o *Options) { o.DataStream = strings.Repeat("a", 256) },
		"only one way to log in":    func(o *Options) { o.APIKey, o.Username, o.Password = "secret", "u", "secret" },
		"username is set without":   func(o *Options) { o.Username = "u" },
		"a space or a line break":   func(o *Options) { o.APIKey = "secret\n" },
		`begins with "ApiKey"`:      func(o *Options) { o.APIKey = "ApiKey secret" },
		"not an ID before it":       func(o *Options) { o.APIKey = "a:b:c" },
		"is the key without its ID": func(o *Options) { o.APIKey = "ui2lp2axTNmsyakw9tvNnw" },
		"a line break at its end":   func(o *Options) { o.APIKey = base64.StdEncoding.EncodeToString([]byte("id:secret\n")) },
		"has a colon in it":         func(o *Options) { o.Username, o.Password = "a:b", "secret" },
		"timeout is -1s":            func(o *Options) { o.Timeout = -time.Second },
		"expected 1 to 10485760":    func(o *Options) { o.MaxRequestBytes = 11 << 20 },
		"ca_file /absent does not ": func(o *Options) { o.TLS.CAFile = "/absent" },
	} {
		o := good
		change(&o)
		_, err := New(o)
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want an error with %q", err, words)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error has the secret: %v", err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	s := newSink(b, Options{URLs: []string{"http://127.0.0.1:1"}, DataStream: "logs-ssh-test"})
	batch := entries(1000)
	d := s.senders.Get().(*sender)
	if _, err := d.encode(batch); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(d.body)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := d.encode(batch); err != nil || n != len(batch) {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(len(batch))*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkReadItems(b *testing.B) {
	const n = 1000
	data := []byte(`{"errors":false,"items":[` + strings.TrimSuffix(strings.Repeat(`{"create":{"status":201}},`, n), ",") + `]}`)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if items, whole := readItems(data, 0, n, Options{}); len(items) > 0 || whole != nil {
			b.Fatal(items, whole)
		}
	}
}
