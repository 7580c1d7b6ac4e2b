package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/ttydrain/ttydrain/pipeline/receive"
)

// Files are the files of one HTTPS or syslog drain, as written by its receiver; "-" is standard
// input. Each file may be compressed with gzip or zstd, and contains either
//
//   - JSON objects, one per line, in arrays or concatenated. An object is a record, or a record in
//     the envelope of a preset or an export.
//   - Syslog messages (RFC 5424), one per line or with octet counting. Lines with another header
//     are accepted if the structured data and the text are unchanged. Files without the structured
//     data cannot be read.
type Files struct {
	Names []string
	// Stdin is read for the name "-"; nil means os.Stdin.
	Stdin    io.Reader
	Progress Progress
	// Sum, unless it is nil, is called after each file with its size in bytes and its SHA-256, which
	// are computed while it is read.
	Sum func(name string, size int64, sum [sha256.Size]byte)
}

// Grouped implements [Copy].
func (f *Files) Grouped() bool { return false }

// Read implements [Copy].
func (f *Files) Read(ctx context.Context, v Visitor) error {
	var total, before int64
	for _, name := range f.Names {
		if name == "-" {
			total = 0
			break
		}
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("read the copy: %w", err)
		}
		total += info.Size()
	}
	var d decoder
	for _, name := range f.Names {
		n, err := f.read(ctx, name, &d, v, before, total)
		if err != nil {
			return err
		}
		before += n
	}
	return nil
}

func (f *Files) read(ctx context.Context, name string, d *decoder, v Visitor, before, total int64) (read int64, err error) {
	var in io.Reader = os.Stdin
	switch {
	case name != "-":
		file, err := os.Open(name)
		if err != nil {
			return 0, fmt.Errorf("read the copy: %w", err)
		}
		defer file.Close()
		in = file
	case f.Stdin != nil:
		in = f.Stdin
	}
	counted := &countingReader{ctx: ctx, r: in, onRead: func(n int64) { f.Progress.report(before+n, total) }}
	if f.Sum == nil {
		err = readText(counted, name, d, v)
		return counted.n, err
	}
	sum := sha256.New()
	counted.r = io.TeeReader(in, sum)
	if err = readText(counted, name, d, v); err == nil {
		_, err = io.Copy(io.Discard, counted) // the rest of a file that is damaged
	}
	if err == nil {
		f.Sum(name, counted.n, [sha256.Size]byte(sum.Sum(nil)))
	}
	return counted.n, err
}

// readText reads the contents of a file, decompressed if necessary.
func readText(in *countingReader, name string, d *decoder, v Visitor) error {
	plain, err := decompress(bufio.NewReaderSize(in, 64<<10))
	if err != nil {
		err = &readError{Place{Name: name}, err}
	} else if isJSON(plain) {
		err = readObjects(plain, name, d, v)
	} else {
		err = readLines(plain, name, d, v)
	}
	// If the file itself was readable, its data is truncated or damaged: keep the records so far.
	if damage := (*readError)(nil); errors.As(err, &damage) && in.err == nil {
		v.broken(Broken{Place: damage.place, What: "the rest cannot be decompressed: " + damage.err.Error()})
		return nil
	}
	return err
}

// readError is an error that ends reading, with its place.
type readError struct {
	place Place
	err   error
}

func (e *readError) Error() string {
	return "read the copy: " + e.place.String() + ": " + e.err.Error()
}
func (e *readError) Unwrap() error { return e.err }

// countingReader reports the number of bytes read, and stops when its context is done.
type countingReader struct {
	ctx    context.Context
	r      io.Reader
	n      int64
	err    error // except io.EOF
	onRead func(int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		c.err = context.Cause(c.ctx)
		return 0, c.err
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.onRead(c.n)
	if !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// decompress decompresses data that is compressed once or twice.
func decompress(r *bufio.Reader) (*bufio.Reader, error) {
	for range 2 {
		magic, _ := r.Peek(4) // shorter data is not compressed
		switch {
		case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
			packed, err := gzip.NewReader(r)
			if err != nil {
				return nil, fmt.Errorf("decompress gzip: %w", err)
			}
			r = bufio.NewReaderSize(packed, 64<<10)
		case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
			packed, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxObject))
			if err != nil {
				return nil, fmt.Errorf("decompress zstd: %w", err)
			}
			r = bufio.NewReaderSize(packed, 64<<10)
		default:
			return r, nil
		}
	}
	return r, nil
}

// isJSON reports whether a text is JSON rather than syslog.
func isJSON(r *bufio.Reader) bool {
	head, _ := r.Peek(16 << 10) // shorter texts are returned completely
	if b := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), "[ \t\r\n\x1e"); len(b) > 0 && b[0] == '{' {
		return true
	}
	// The first brace may be damaged. What precedes the text is from ttydrain, not from a session.
	object, message := bytes.Index(head, []byte(`"operation_id":`)), bytes.Index(head, []byte("["+receive.SessionID+" "))
	return object >= 0 && (message < 0 || object < message)
}

func readObjects(r *bufio.Reader, name string, d *decoder, v Visitor) error {
	s := newObjectScanner(r)
	for {
		object, at, broken, err := s.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		place := Place{name, at.line, at.column}
		if err != nil {
			return &readError{place, err}
		}
		if broken != nil {
			if hasRecordNames(object) {
				v.broken(brokenAt(place, object, broken))
			} else {
				v.other()
			}
			continue
		}
		if err := d.objects(object, place, v); err != nil {
			return err
		}
	}
}

func readLines(r *bufio.Reader, name string, d *decoder, v Visitor) error {
	s := lineScanner{r: r, line: 1}
	for {
		line, number, long, err := s.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		place := Place{Name: name, Line: number}
		if err != nil {
			return &readError{place, err}
		}
		if len(line) == 0 {
			continue
		}
		record, err := d.message(line)
		switch {
		case long:
			v.broken(brokenAt(place, line, errTooLong))
		case errors.Is(err, errOther):
			v.other()
		case err != nil:
			v.broken(brokenAt(place, line, err))
		default:
			record.Place = place
			if err := v.Record(record); err != nil {
				return err
			}
		}
	}
}
