package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/ttydrain/ttydrain/pipeline/receive"
)

// Files are the files of one HTTPS or syslog drain, as its receiver has written them; "-" is
// standard input. Each may be packed with gzip or zstd, and is either
//
//   - JSON: objects one a line, in arrays, or one after another; records, or what presets and exports have around them; or
//   - syslog: messages of RFC 5424, one a line or with their length in front, or lines with another head in which the
//     structured data and the text are as they were sent. Files without the structured data can't be read.
type Files struct {
	Names []string
	// Stdin is read for "-"; nil for os.Stdin.
	Stdin    io.Reader
	Progress Progress
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
	counted := &countingReader{ctx: ctx, r: in, tell: func(n int64) { f.Progress.tell(before+n, total) }}
	err = readText(counted, name, d, v)
	return counted.n, err
}

// readText reads what a file has, packed or not.
func readText(in *countingReader, name string, d *decoder, v Visitor) error {
	plain, err := unpacked(bufio.NewReaderSize(in, 64<<10))
	if err != nil {
		err = &readError{Place{Name: name}, err}
	} else if isJSON(plain) {
		err = readObjects(plain, name, d, v)
	} else {
		err = readLines(plain, name, d, v)
	}
	// Where the file itself could be read, it was cut or changed: what was before that place is known.
	if damage := (*readError)(nil); errors.As(err, &damage) && in.err == nil {
		v.broken(Broken{Place: damage.place, What: "what follows can't be unpacked: " + damage.err.Error()})
		return nil
	}
	return err
}

// A readError is why reading does not go on at a place.
type readError struct {
	place Place
	err   error
}

func (e *readError) Error() string {
	return "read the copy: " + e.place.String() + ": " + e.err.Error()
}
func (e *readError) Unwrap() error { return e.err }

// A countingReader tells how much was read, and ends with its context.
type countingReader struct {
	ctx  context.Context
	r    io.Reader
	n    int64
	err  error // but io.EOF
	tell func(int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		c.err = context.Cause(c.ctx)
		return 0, c.err
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.tell(c.n)
	if !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// unpacked reads what is packed, once or twice.
func unpacked(r *bufio.Reader) (*bufio.Reader, error) {
	for range 2 {
		magic, _ := r.Peek(4) // what is shorter is not packed
		switch {
		case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
			packed, err := gzip.NewReader(r)
			if err != nil {
				return nil, fmt.Errorf("unpack gzip: %w", err)
			}
			r = bufio.NewReaderSize(packed, 64<<10)
		case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
			packed, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxObject))
			if err != nil {
				return nil, fmt.Errorf("unpack zstd: %w", err)
			}
			r = bufio.NewReaderSize(packed, 64<<10)
		default:
			return r, nil
		}
	}
	return r, nil
}

// isJSON says whether a text is JSON, and no syslog.
func isJSON(r *bufio.Reader) bool {
	head, _ := r.Peek(16 << 10) // what is shorter is all there
	if b := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), "[ \t\r\n\x1e"); len(b) > 0 && b[0] == '{' {
		return true
	}
	// The first brace may be damaged, as all else may be. What stands in front of the text is
	// ttydrain's, and not what a session showed.
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
			v.broken(brokenAt(place, line, errLongThing))
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
