package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/transfer"
	"github.com/ttydrain/ttydrain/schema"
)

// maxInput is the maximum number of bytes of input in a record.
const maxInput = 16 << 10

// input copies the client's input to the program until either ends.
func (s *running) input(p Process) {
	stdin := p.Stdin()
	defer stdin.Close()
	if s.transfers != nil {
		if err := s.transfers.Requests(stdin, s.client.Stdin); err != nil {
			s.log.Warn("file transfer ended early", "error", err)
		}
		return
	}
	from, size := s.client.Stdin, 1<<10 // users type slowly, for a long time
	if s.req.Terminal == nil {
		from, size = inputReader{s}, maxInput
	}
	// Errors only mean that the process or the client is gone. The wrappers prevent io.CopyBuffer
	// from using a file's own, larger buffer.
	io.CopyBuffer(struct{ io.Writer }{stdin}, struct{ io.Reader }{from}, make([]byte, size))
}

// transfer copies the responses of an SFTP server to the client, without recording their content.
// Once ctx is done, it does not wait for a client that accepts no data.
func (s *running) transfer(ctx context.Context, p Process) {
	ended := make(chan struct{})
	// The goroutine ends with the process, once the client has received the last response or its
	// channel is closed after run.
	go func() {
		defer close(ended)
		stdout := p.Stdout()
		if err := s.transfers.Answers(s.client.Stdout, stdout); err != nil {
			s.log.Warn("file transfer ended early", "error", err)
			p.Kill()
			io.Copy(io.Discard, stdout)
		}
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// newTransfers returns an observer that records each file transfer of a session.
func (s *running) newTransfers() *transfer.Observer {
	return transfer.New(func(d *schema.Detail) { s.record(schema.FrameTransfer, d) })
}

// record records an event of a session.
func (s *running) record(kind schema.FrameKind, d *schema.Detail) {
	frame, err := schema.DetailFrame(kind, time.Now(), d)
	if err != nil {
		s.log.Error("event not recorded", "error", err)
		return
	}
	s.capture.event(frame)
}

// inputDigest counts and hashes the input of a program without a terminal.
type inputDigest struct {
	mu    sync.Mutex // guards what follows
	bytes uint64
	sum   hash.Hash
}

func (g *inputDigest) add(b []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sum == nil {
		g.sum = sha256.New()
	}
	g.sum.Write(b)
	g.bytes += uint64(len(b))
}

// addTo sets the total and the digest in the detail of an end record, unless there was no input.
func (g *inputDigest) addTo(d *schema.Detail) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bytes > 0 {
		n := g.bytes
		d.InputBytes, d.InputSHA256 = &n, hex.EncodeToString(g.sum.Sum(nil))
	}
}

// inputReader reads a client's input and counts it. If the app requests it, the input is recorded
// before the program receives it.
type inputReader struct{ *running }

func (r inputReader) Read(b []byte) (int, error) {
	n, err := r.client.Stdin.Read(b)
	if n > 0 {
		r.inputDigest.add(b[:n])
		if r.app.RecordStdin {
			r.record(schema.FrameInput, &schema.Detail{Input: b[:n]})
		}
	}
	return n, err
}
