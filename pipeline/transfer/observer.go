package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/ttydrain/ttydrain/schema"
)

const (
	// maxPending bounds the unanswered requests. OpenSSH's client allows 64.
	maxPending = 4096
	// maxFiles bounds the open files. OpenSSH's server allows fewer.
	maxFiles = 4096
	// maxEarly bounds the bytes of a file that arrived before their predecessors. Clients request
	// ahead, and answers and writes may come in any order.
	maxEarly = 4 << 20
)

// Observer observes one SFTP session. Its methods Requests and Answers run concurrently.
type Observer struct {
	report func(*schema.Detail)

	mu      sync.Mutex // guards the fields below
	pending map[uint32]request
	files   map[string]*file // by handle
	closed  bool
}

// New returns an observer that calls report with the detail of each transfer, before the client
// learns that the file was closed.
func New(report func(*schema.Detail)) *Observer {
	return &Observer{report: report, pending: make(map[uint32]request), files: make(map[string]*file)}
}

// request is a request that has not been answered.
type request struct {
	kind   byte
	path   string // of an open
	flags  uint32
	handle string
	offset uint64 // of a read
}

// file is an open file.
type file struct {
	path          string
	flags         uint32
	read, written flow
	atEnd         bool // a read reached the end of the file
	refused       bool // the server refused a write
}

// flow is the content of a file in one direction.
type flow struct {
	size      uint64
	sum       hash.Hash // of the bytes before next
	next      uint64
	early     map[uint64][]byte // pieces after next, by offset
	earlySize int               // bytes in early
	unordered bool              // the content is not known from the first byte to the last
}

// Requests copies the client's packets to the server until either side ends.
func (o *Observer) Requests(server io.Writer, client io.Reader) error {
	return forward(server, client, o.request)
}

// Answers copies the server's packets to the client until either side ends.
func (o *Observer) Answers(client io.Writer, server io.Reader) error {
	return forward(client, server, o.answer)
}

// Close reports the transfers of the files that were not closed. Nothing is reported afterwards.
func (o *Observer) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer func() { o.closed = true }()
	for _, handle := range slices.Sorted(maps.Keys(o.files)) {
		o.close(handle, "it was interrupted")
	}
}

func (o *Observer) request(kind byte, content []byte) error {
	f := fields{data: content}
	if kind == typeInit {
		return nil // there is no identifier in it
	}
	id := f.uint32()
	r := request{kind: kind}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch kind {
	case typeOpen:
		r.path = string(f.bytes())
		r.flags = f.uint32()
	case typeClose:
		r.handle = string(f.bytes())
	case typeRead:
		r.handle = string(f.bytes())
		r.offset = f.uint64()
	case typeWrite:
		r.handle = string(f.bytes())
		offset, data := f.uint64(), f.bytes()
		if open := o.files[r.handle]; open != nil && !f.bad {
			open.written.add(offset, data)
		}
	}
	if f.bad {
		return errMalformed
	}
	if len(o.pending) >= maxPending {
		return errors.New("too many SFTP requests without an answer")
	}
	o.pending[id] = r
	return nil
}

func (o *Observer) answer(kind byte, content []byte) error {
	f := fields{data: content}
	if kind == typeVersion {
		if v := f.uint32(); v != version {
			return fmt.Errorf("the server uses SFTP version %d, but only version %d can be recorded", v, version)
		}
		return nil
	}
	id := f.uint32()
	o.mu.Lock()
	defer o.mu.Unlock()
	r, ok := o.pending[id]
	delete(o.pending, id)
	switch kind {
	case typeHandle:
		handle := string(f.bytes())
		if ok && r.kind == typeOpen {
			if len(o.files) >= maxFiles {
				return errors.New("too many open files")
			}
			o.files[handle] = &file{path: r.path, flags: r.flags}
		}
	case typeData:
		data := f.bytes()
		if open := o.files[r.handle]; open != nil && r.kind == typeRead && !f.bad {
			open.read.add(r.offset, data)
		}
	case typeStatus:
		o.status(r, f.uint32())
	}
	if f.bad {
		return errMalformed
	}
	return nil
}

// status records the outcome of a request. mu is held.
func (o *Observer) status(r request, code uint32) {
	open := o.files[r.handle]
	if open == nil {
		return
	}
	switch r.kind {
	case typeRead:
		open.atEnd = open.atEnd || code == statusEOF
	case typeWrite:
		open.refused = open.refused || code != statusOK
	case typeClose:
		o.close(r.handle, "")
	}
}

// close reports the transfers of a file. mu is held.
func (o *Observer) close(handle, reason string) {
	f := o.files[handle]
	delete(o.files, handle)
	if o.closed {
		return
	}
	if f.written.size > 0 || f.flags&flagWrite != 0 {
		d := f.written.detail(f.path, schema.Upload, reason)
		if f.refused {
			d.Reason, d.SHA256 = strings.TrimPrefix(d.Reason+"; the server refused a part", "; "), ""
		}
		o.report(d)
	}
	if f.read.size > 0 || f.flags&flagRead != 0 && f.atEnd {
		o.report(f.read.detail(f.path, schema.Download, reason))
	}
}

// add adds a piece of the content.
func (w *flow) add(offset uint64, data []byte) {
	w.size += uint64(len(data))
	switch {
	case w.unordered || len(data) == 0:
	case offset == w.next:
		w.append(data)
		for piece, ok := w.early[w.next]; ok; piece, ok = w.early[w.next] {
			delete(w.early, w.next)
			w.earlySize -= len(piece)
			w.append(piece)
		}
	case offset > w.next && w.earlySize+len(data) <= maxEarly && w.early[offset] == nil:
		if w.early == nil {
			w.early = make(map[uint64][]byte)
		}
		w.early[offset] = slices.Clone(data)
		w.earlySize += len(data)
	default: // random access: the content as a whole is not known
		w.unordered, w.early = true, nil
	}
}

func (w *flow) append(data []byte) {
	if w.sum == nil {
		w.sum = sha256.New()
	}
	w.sum.Write(data)
	w.next += uint64(len(data))
}

// detail returns the record detail of the transfer.
func (w *flow) detail(path, direction, reason string) *schema.Detail {
	size := w.size
	d := &schema.Detail{Path: path, Direction: direction, Size: &size, Reason: reason}
	if !w.unordered && len(w.early) == 0 {
		sum := w.sum
		if sum == nil {
			sum = sha256.New()
		}
		d.SHA256 = hex.EncodeToString(sum.Sum(nil))
	}
	return d
}
