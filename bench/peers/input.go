package peers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/ttydrain/ttydrain/bench/corpus"
	"github.com/ttydrain/ttydrain/bench/measure"
	"github.com/ttydrain/ttydrain/bench/receivers"
	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/syslog"
)

// An input is the input of limits and peers: a file with the records of sessions in the form in
// which ttydrain would send them, one per line.
type input struct {
	corpus.Totals
	File string
}

// The kinds of input, by their lines.
const (
	inputJSON = "json" // JSON objects, as for HTTPS drains
	// inputBulk has the _id of its Elasticsearch document, and a tab, before each JSON object.
	inputBulk   = "bulk"
	inputSyslog = "syslog" // messages of RFC 5424, without framing
)

// inputs has the inputs of one run of the benchmark. They are made when they are first needed. It
// is for one goroutine.
type inputs struct{ made map[string]input }

// get returns an input, and makes it if necessary.
func (in *inputs) get(ctx context.Context, s *measure.Settings, kind string, records int) (input, error) {
	name := fmt.Sprintf("%s-%d", kind, records)
	if made, ok := in.made[name]; ok {
		return made, nil
	}
	made, err := makeInput(ctx, s, kind, records, filepath.Join(s.Dir, "input-"+name))
	if err != nil {
		return input{}, fmt.Errorf("make the input of limits and peers: %w", err)
	}
	if in.made == nil {
		in.made = make(map[string]input)
	}
	in.made[name] = made
	return made, nil
}

func makeInput(ctx context.Context, s *measure.Settings, kind string, records int, file string) (_ input, err error) {
	key, err := enrich.LoadKey(filepath.Join(s.Dir, "input_key.pem"), "")
	if err != nil {
		return input{}, err
	}
	w, err := newInputWriter(ctx, s, kind, file)
	if err != nil {
		return input{}, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	all := make([]*corpus.Session, s.Sessions)
	for i := range all {
		all[i], err = corpus.NewSession(key, s.Seed+uint64(i), func(op *schema.Operation) error {
			op.ID = strconv.Itoa(i + 1)
			return nil
		})
		if err != nil {
			return input{}, err
		}
	}
	var decoder schema.Decoder
	f, err := corpus.Play(all, records, false, func(*corpus.Session) error { return nil }, func(made enrich.Segment) error {
		segment, err := decoder.Segment(made.Data)
		if err != nil {
			return err
		}
		entries := make([]sinks.Entry, len(segment.Records))
		for i := range entries {
			entries[i] = sinks.Entry{Operation: segment.Operation, Record: &segment.Records[i]}
		}
		return w.write(ctx, entries)
	})
	return input{f, file}, err
}

// An inputWriter writes the lines of an input.
type inputWriter interface {
	write(context.Context, []sinks.Entry) error
	Close() error
}

func newInputWriter(ctx context.Context, s *measure.Settings, kind, file string) (inputWriter, error) {
	if kind == inputSyslog {
		return newSyslogWriter(ctx, s, file)
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	return &jsonWriter{file: f, out: bufio.NewWriterSize(f, 1<<20), ids: kind == inputBulk}, nil
}

// A jsonWriter writes JSON objects, with or without their IDs.
type jsonWriter struct {
	file    *os.File
	out     *bufio.Writer
	ids     bool
	encoder schema.Encoder
	line    []byte // reused
}

func (w *jsonWriter) write(_ context.Context, entries []sinks.Entry) (err error) {
	for _, e := range entries {
		w.line = w.line[:0]
		if w.ids { // as sinks/elasticsearch makes them
			w.line = fmt.Appendf(w.line, "%s-%s-%d\t", e.Operation.ID, strconv.FormatInt(e.Operation.Started.UnixNano(), 36), e.Record.Sequence)
		}
		if w.line, err = w.encoder.AppendRecord(w.line, e.Operation, e.Record); err != nil {
			return err
		}
		if _, err := w.out.Write(append(w.line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

func (w *jsonWriter) Close() error { return errors.Join(w.out.Flush(), w.file.Close()) }

// A syslogWriter sends the messages with ttydrain's own sink to a receiver that keeps them.
type syslogWriter struct {
	receiver *receivers.Receiver
	sink     *syslog.Sink
	sessions int
}

func newSyslogWriter(ctx context.Context, s *measure.Settings, file string) (*syslogWriter, error) {
	keeping := receivers.Syslog
	keeping.Keep = file
	r, err := receivers.Open(ctx, s, keeping)
	if err != nil {
		return nil, err
	}
	sink, err := syslog.New(syslog.Options{Address: r.Address, TLS: sinks.TLS{CAFile: r.CAFile}})
	if err != nil {
		r.Close()
		return nil, err
	}
	return &syslogWriter{r, sink, s.Sessions}, nil
}

func (w *syslogWriter) write(ctx context.Context, entries []sinks.Entry) error {
	return w.sink.Write(ctx, entries)
}

// Close waits until the receiver has written all messages.
func (w *syslogWriter) Close() error {
	got, err := w.receiver.AwaitSessions(w.sessions)
	if err == nil {
		err = got.Complete()
	}
	return errors.Join(err, w.sink.Close(), w.receiver.Close())
}
