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

// maxInput is how many bytes of input a record has at most.
const maxInput = 16 << 10

// input passes the client's input on to the program until either ends.
func (s *running) input(p Process) {
	stdin := p.Stdin()
	defer stdin.Close()
	if s.transfers != nil {
		if err := s.transfers.Requests(stdin, s.client.Stdin); err != nil {
			s.log.Warn("a file transfer ended early", "error", err)
		}
		return
	}
	from, size := s.client.Stdin, 1<<10 // people type little at a time, for a long time
	if s.req.Terminal == nil {
		from, size = inputReader{s}, maxInput
	}
	// Its errors are those of a process or a client that is gone. A file would not take the buffer,
	// but make one of its own.
	io.CopyBuffer(struct{ io.Writer }{stdin}, struct{ io.Reader }{from}, make([]byte, size))
}

// transfer passes the answers of an SFTP server on to the client, and does not record what they
// hold. It does not wait for a client that takes nothing once ctx is done.
func (s *running) transfer(ctx context.Context, p Process) {
	ended := make(chan struct{})
	go func() { // ends with the process, once the client has taken the last answer or its channel is closed after run
		defer close(ended)
		stdout := p.Stdout()
		if err := s.transfers.Answers(s.client.Stdout, stdout); err != nil {
			s.log.Warn("a file transfer ended early", "error", err)
			p.Kill()
			io.Copy(io.Discard, stdout)
		}
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// newTransfers returns the observer of a session that transfers files, which records each of them.
func (s *running) newTransfers() *transfer.Observer {
	return transfer.New(func(d *schema.Detail) { s.record(schema.FrameTransfer, d) })
}

// record records an event of a session.
func (s *running) record(kind schema.FrameKind, d *schema.Detail) {
	frame, err := schema.DetailFrame(kind, time.Now(), d)
	if err != nil {
		s.log.Error("an event could not be recorded", "error", err)
		return
	}
	s.capture.event(frame)
}

// given is the input that a program without a terminal was given.
type given struct {
	mu    sync.Mutex // guards what follows
	bytes uint64
	sum   hash.Hash
}

func (g *given) add(b []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sum == nil {
		g.sum = sha256.New()
	}
	g.sum.Write(b)
	g.bytes += uint64(len(b))
}

// tell puts the total and the digest into the detail of an end. There is nothing to put where there
// was no input.
func (g *given) tell(d *schema.Detail) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bytes > 0 {
		n := g.bytes
		d.InputBytes, d.InputSHA256 = &n, hex.EncodeToString(g.sum.Sum(nil))
	}
}

// An inputReader reads a client's input, and counts it. Where the app wants that, it records it,
// before the program has it.
type inputReader struct{ *running }

func (r inputReader) Read(b []byte) (int, error) {
	n, err := r.client.Stdin.Read(b)
	if n > 0 {
		r.given.add(b[:n])
		if r.app.RecordStdin {
			r.record(schema.FrameInput, &schema.Detail{Input: b[:n]})
		}
	}
	return n, err
}
