package enricher

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/schema"
)

// A disordered is the enricher's work on the only partition of a bus, a chunk or a tick at a time.
type disordered struct {
	*partition
	t   *testing.T
	key *enrich.Key
}

func newDisordered(t *testing.T) *disordered {
	t.Helper()
	b := openBus(t, t.TempDir(), 1)
	t.Cleanup(b.Close)
	d := &disordered{t: t, key: testKey(t)}
	d.partition = d.work(b)
	return d
}

// work acquires the partition's lease, and returns the work of a new enricher.
func (d *disordered) work(b *bus.Bus) *partition {
	d.t.Helper()
	lease, err := b.Acquire(d.t.Context(), "enrich.0")
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(lease.Release)
	o := Options{
		Bus: b, Signer: d.key, Document: document(d.key), Metrics: NewMetrics(prometheus.NewRegistry()),
		Log: slog.New(slog.NewTextHandler(d.t.Output(), nil)),
	}
	return newPartition(o, 0, lease, new(partitionProgress))
}

// chunks returns the chunks of a session of lines: its start, each line, and its end.
func (d *disordered) chunks(lines ...string) (*schema.Operation, []schema.Chunk) {
	d.t.Helper()
	user := schema.User{ID: "u-1"}
	doc, err := document(d.key)(user)
	if err != nil {
		d.t.Fatal(err)
	}
	op := &schema.Operation{App: "web", Stack: "default", User: user, UserDocument: doc, Started: time.Now()}
	if err := d.o.Bus.CreateOperation(d.t.Context(), op); err != nil {
		d.t.Fatal(err)
	}
	start, err := schema.StartFrame(time.Now(), op)
	if err != nil {
		d.t.Fatal(err)
	}
	all := []schema.Chunk{{Frames: []schema.Frame{start}}}
	next := schema.Chunk{Ordinal: 1, Events: 1}
	for _, line := range lines {
		c := next
		c.Frames = []schema.Frame{{Kind: schema.FrameStdout, Time: time.Now().UnixNano(), Payload: []byte(line)}}
		all = append(all, c)
		next.Ordinal++
		next.Offset[0] += uint64(len(line))
	}
	end, err := schema.DetailFrame(schema.FrameEnd, time.Now(), &schema.Detail{Reason: "exit"})
	if err != nil {
		d.t.Fatal(err)
	}
	next.Frames = []schema.Frame{end}
	return op, append(all, next)
}

// store stores chunks on TTY in the order given, and has them enriched.
func (d *disordered) store(op *schema.Operation, chunks ...schema.Chunk) {
	d.t.Helper()
	for _, c := range chunks {
		m := bus.Message{Subject: schema.SubjectTTY(op, 1), Time: time.Now(), Data: schema.AppendChunk(nil, &c)}
		var err error
		if m.Sequence, err = d.o.Bus.PublishChunk(m.Subject, fmt.Sprintf("%s-%d", op.ID, c.Ordinal), m.Data).Wait(d.t.Context()); err != nil {
			d.t.Fatal(err)
		}
		if err := d.add(d.t.Context(), m); err != nil {
			d.t.Fatal(err)
		}
	}
	d.confirm()
}

// later runs a tick that is later than now by a time.
func (d *disordered) later(after time.Duration) {
	d.t.Helper()
	if err := d.tick(d.t.Context(), time.Now().Add(after)); err != nil {
		d.t.Fatal(err)
	}
	d.confirm()
}

func (d *disordered) confirm() {
	d.t.Helper()
	for d.inFlight > 0 {
		if err := d.onPublished(d.t.Context(), <-d.published); err != nil {
			d.t.Fatal(err)
		}
	}
}

// logs returns what LOGS has of an operation: the output, and the other events as "<event>".
func (d *disordered) logs(op *schema.Operation) string {
	d.t.Helper()
	filter := []string{schema.LogsOf(schema.SubjectTTY(op, 1))}
	var b strings.Builder
	var decoder schema.Decoder
	for after := uint64(0); ; {
		m, ok, err := d.o.Bus.First(d.t.Context(), schema.StreamLogs, filter, after)
		if err != nil {
			d.t.Fatal(err)
		}
		if !ok {
			return b.String()
		}
		segment, err := decoder.Segment(m.Data)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, r := range segment.Records {
			if r.Event == schema.EventOutput {
				b.Write(r.Log)
			} else {
				fmt.Fprintf(&b, "<%s>", r.Event)
			}
		}
		after = m.Sequence
	}
}

func (d *disordered) mustHave(op *schema.Operation, want string) {
	d.t.Helper()
	if got := strings.ReplaceAll(d.logs(op), "<checkpoint>", ""); got != want {
		d.t.Errorf("LOGS has %q, want %q", got, want)
	}
}

// TestLateFirstChunk: the stream may store a session's first chunk after its second one, if a
// publish was refused or its answer was lost. No acknowledged chunk is lost then, whichever
// enricher reads which of them.
func TestLateFirstChunk(t *testing.T) {
	for _, handover := range []bool{false, true} {
		t.Run(fmt.Sprintf("handover=%t", handover), func(t *testing.T) {
			d := newDisordered(t)
			op, c := d.chunks("banner\r\n", "$ ls\r\n")
			other, o := d.chunks("other\r\n")
			d.store(op, c[1])
			d.later(0)
			d.store(other, o...)
			d.mustHave(other, "<start>other\r\n<end>") // is not delayed
			if at := d.position(); at != 0 {
				t.Fatalf("the position is %d, past a chunk that waits", at)
			}
			if handover {
				d.lease.Release()
				d.partition = d.work(d.o.Bus)
				d.store(op, c[1]) // the stream recognises the repeat; it is read again
			}
			d.store(op, c[0], c[2])
			d.mustHave(op, "<start>banner\r\n$ ls\r\n")
			d.store(op, c[3])
			d.later(0)
			d.mustHave(op, "<start>banner\r\n$ ls\r\n<end>")
			if end, err := d.o.Bus.End(t.Context(), schema.StreamTTY); err != nil || d.position() != end {
				t.Errorf("the position is %d, and TTY ends at %d: %v", d.position(), end, err)
			}
			if n := d.corrupt(); n != 0 {
				t.Errorf("%g chunks were passed over", n)
			}
		})
	}
}

// TestLaggingReplica: a lagging replica of LOGS knows no segment of a running operation. The chunks
// wait until it does, however many there are and however long that takes.
func TestLaggingReplica(t *testing.T) {
	d := newDisordered(t)
	lines := []string{"one\r\n", "two\r\n"}
	for range 2 * maxPendingStart / testChunkSize {
		lines = append(lines, strings.Repeat("many\r\n", testChunkSize/6))
	}
	op, c := d.chunks(lines...)
	d.store(op, c[:2]...)
	d.later(0)

	d.lease.Release()
	d.partition = d.work(d.o.Bus)
	subject := schema.SubjectTTY(op, 1)
	// The operation as in an enricher whose replica has no segment, while the leader has one.
	d.operations[subject] = &operation{subject: schema.LogsOf(subject), onLogs: true}
	d.operations[subject].pending = []pendingChunk{{d.stored(op, c[2]), time.Now()}}
	d.store(op, c[3:]...)
	if d.backlog < maxPendingStart {
		t.Errorf("the backlog is %d bytes: reading on would be unbounded", d.backlog)
	}
	d.later(2 * missingAfter)
	d.later(2 * missingAfter)
	d.mustHave(op, "<start>"+strings.Join(lines, "")+"<end>")
	if d.backlog != 0 {
		t.Errorf("the backlog is %d bytes in the end", d.backlog)
	}
}

// corrupt returns the number of skipped chunks.
func (d *disordered) corrupt() float64 {
	d.t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(d.o.Metrics.corrupt)
	families, err := r.Gather()
	if err != nil || len(families) != 1 {
		d.t.Fatal(len(families), err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// testChunkSize is the approximate size of a chunk of TestLaggingReplica, in bytes.
const testChunkSize = 64 << 10

func (d *disordered) stored(op *schema.Operation, c schema.Chunk) bus.Message {
	d.t.Helper()
	m := bus.Message{Subject: schema.SubjectTTY(op, 1), Time: time.Now(), Data: schema.AppendChunk(nil, &c)}
	var err error
	if m.Sequence, err = d.o.Bus.PublishChunk(m.Subject, fmt.Sprintf("%s-%d", op.ID, c.Ordinal), m.Data).Wait(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	d.read = m.Sequence
	return m
}

// TestMissingStart: the chunks of an operation without a start are skipped after a time, and delay
// neither the position nor other operations.
func TestMissingStart(t *testing.T) {
	d := newDisordered(t)
	op, c := d.chunks("one\r\n", "two\r\n", "three\r\n")
	d.store(op, c[2], c[1])
	d.later(0)
	if d.position() != 0 || d.corrupt() != 0 {
		t.Fatalf("the chunks did not wait: position %d", d.position())
	}
	d.later(missingAfter + time.Second)
	if at := d.position(); at != 2 || d.corrupt() != 2 {
		t.Errorf("the position is %d, %g chunks were passed over", at, d.corrupt())
	}
	d.store(op, c[3])
	if at := d.position(); at != 3 {
		t.Errorf("the position is %d: a later chunk waits again", at)
	}

	// A start is never behind that many bytes.
	big, b := d.chunks(slices.Repeat([]string{strings.Repeat("x", testChunkSize)}, maxPendingStart/testChunkSize+1)...)
	d.store(big, b[1:]...)
	if end := d.read; d.position() != end {
		t.Errorf("the position is %d of %d", d.position(), end)
	}
	d.mustHave(op, "")
	d.mustHave(big, "")
}

// TestUnreadChunkIsNotMissing: a chunk waits for a predecessor on TTY that the enricher has not
// read yet, however long the enricher was delayed.
func TestUnreadChunkIsNotMissing(t *testing.T) {
	d := newDisordered(t)
	op, c := d.chunks("one\r\n", "two\r\n")
	d.store(op, c[0], c[2])
	read := d.read
	late := d.stored(op, c[1])
	d.read = read
	d.later(2 * missingAfter)
	if err := d.add(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	d.store(op, c[3])
	d.later(0)
	d.mustHave(op, "<start>one\r\ntwo\r\n<end>")
}
