package replay

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"github.com/ttydrain/ttydrain/schema"
)

// spoolParts is how many files the spool divides records into.
const spoolParts = 256

// A spool keeps records in files without names, divided by operation. It is written, and then read.
type spool struct {
	parts   [spoolParts]spoolPart
	scratch []byte
}

type spoolPart struct {
	file *os.File // nil until something is in it
	w    *bufio.Writer
	last *schema.Operation // of the record that was written last
}

// close removes what is in the spool. The files have no names any more.
func (s *spool) close() {
	for i := range s.parts {
		if f := s.parts[i].file; f != nil {
			f.Close()
		}
	}
}

// An aside is what a record of a copy has beside that of a segment.
type aside struct {
	Operation bool // the segment has the operation; otherwise it is that of the record before
	Lost      Lost
	Faults    []string `json:",omitempty"`
	Place     Place
	Part      Part `json:",omitzero"`
}

// put writes a record: uvarint length, a segment of that record alone, uvarint length, JSON of an
// aside.
func (s *spool) put(r *Record) error {
	h := fnv.New32a()
	h.Write([]byte(r.Operation.ID))
	p := &s.parts[h.Sum32()%spoolParts]
	if p.file == nil {
		f, err := os.CreateTemp("", "ttydrain-*")
		if err != nil {
			return fmt.Errorf("keep the records outside of memory: %w", err)
		}
		p.file, p.w = f, bufio.NewWriterSize(f, 16<<10)
		if err := os.Remove(f.Name()); err != nil {
			return fmt.Errorf("keep the records outside of memory: %w", err)
		}
	}
	a := aside{Operation: r.Operation != p.last, Lost: r.Lost, Faults: r.Faults, Place: r.Place, Part: r.Part}
	operation := []byte("{}")
	var err error
	if a.Operation {
		if operation, err = json.Marshal(r.Operation); err != nil {
			return fmt.Errorf("keep the records outside of memory: %w", err)
		}
		p.last = r.Operation
	}
	if s.scratch, err = schema.AppendSegment(s.scratch[:0], operation, &schema.Segment{Records: []schema.Record{r.Record}}); err != nil {
		return fmt.Errorf("keep the records outside of memory: %w", err)
	}
	beside, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("keep the records outside of memory: %w", err)
	}
	for _, b := range [][]byte{s.scratch, beside} {
		if _, err := p.w.Write(binary.AppendUvarint(nil, uint64(len(b)))); err != nil {
			return fmt.Errorf("keep the records outside of memory: %w", err)
		}
		if _, err := p.w.Write(b); err != nil {
			return fmt.Errorf("keep the records outside of memory: %w", err)
		}
	}
	return nil
}

// read gives the records of one part, in the order in which they were put.
func (s *spool) read(i int, each func(*Record)) error {
	p := &s.parts[i]
	if p.file == nil {
		return nil
	}
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("keep the records outside of memory: %w", err)
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the records that were kept outside of memory: %w", err)
	}
	r := bufio.NewReaderSize(p.file, 256<<10)
	var d schema.Decoder
	var operation *schema.Operation
	for {
		segment, err := readPrefixed(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		var beside []byte
		if err == nil {
			beside, err = readPrefixed(r)
		}
		var a aside
		if err == nil {
			err = json.Unmarshal(beside, &a)
		}
		var read *schema.Segment
		if err == nil {
			read, err = d.Segment(segment)
		}
		if err != nil {
			return fmt.Errorf("read the records that were kept outside of memory: %w", err)
		}
		if a.Operation {
			operation = read.Operation
		}
		each(&Record{Record: read.Records[0], Operation: operation, Lost: a.Lost, Faults: a.Faults, Place: a.Place, Part: a.Part})
	}
}

// readPrefixed reads what stands behind its length. The error is io.EOF where nothing does.
func readPrefixed(r *bufio.Reader) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > maxObject {
		return nil, schema.ErrCorrupt
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("%w: it ends early", schema.ErrCorrupt)
	}
	return b, nil
}
