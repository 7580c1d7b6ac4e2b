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

// spoolParts is the number of files that the spool divides records into.
const spoolParts = 256

// spool stores records in unnamed temporary files, divided by operation. It is first written and
// then read.
type spool struct {
	parts   [spoolParts]spoolPart
	scratch []byte
}

type spoolPart struct {
	file *os.File // nil while the part is empty
	w    *bufio.Writer
	last *schema.Operation // of the last written record
}

// close closes the files. They have been unlinked, so this frees their space.
func (s *spool) close() {
	for i := range s.parts {
		if f := s.parts[i].file; f != nil {
			f.Close()
		}
	}
}

// extra holds the fields of a record that its segment does not contain.
type extra struct {
	Operation bool // the segment contains the operation; otherwise it is the previous record's
	Lost      Lost
	Faults    []string `json:",omitempty"`
	Form      []string `json:",omitempty"`
	Place     Place
	Part      Part `json:",omitzero"`
}

// put writes a record: a length (uvarint), a segment with only this record, another length, and an
// extra as JSON.
func (s *spool) put(r *Record) error {
	h := fnv.New32a()
	h.Write([]byte(r.Operation.ID))
	p := &s.parts[h.Sum32()%spoolParts]
	if p.file == nil {
		f, err := os.CreateTemp("", "ttydrain-*")
		if err != nil {
			return fmt.Errorf("write the records to a temporary file: %w", err)
		}
		p.file, p.w = f, bufio.NewWriterSize(f, 16<<10)
		if err := os.Remove(f.Name()); err != nil {
			return fmt.Errorf("write the records to a temporary file: %w", err)
		}
	}
	a := extra{Operation: r.Operation != p.last, Lost: r.Lost, Faults: r.Faults, Form: r.Form, Place: r.Place, Part: r.Part}
	operation := []byte("{}")
	var err error
	if a.Operation {
		if operation, err = json.Marshal(r.Operation); err != nil {
			return fmt.Errorf("write the records to a temporary file: %w", err)
		}
		p.last = r.Operation
	}
	if s.scratch, err = schema.AppendSegment(s.scratch[:0], operation, &schema.Segment{Records: []schema.Record{r.Record}}); err != nil {
		return fmt.Errorf("write the records to a temporary file: %w", err)
	}
	encoded, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("write the records to a temporary file: %w", err)
	}
	for _, b := range [][]byte{s.scratch, encoded} {
		if _, err := p.w.Write(binary.AppendUvarint(nil, uint64(len(b)))); err != nil {
			return fmt.Errorf("write the records to a temporary file: %w", err)
		}
		if _, err := p.w.Write(b); err != nil {
			return fmt.Errorf("write the records to a temporary file: %w", err)
		}
	}
	return nil
}

// read passes the records of one part to each, in the order of put.
func (s *spool) read(i int, each func(*Record)) error {
	p := &s.parts[i]
	if p.file == nil {
		return nil
	}
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("write the records to a temporary file: %w", err)
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the records from a temporary file: %w", err)
	}
	r := bufio.NewReaderSize(p.file, 256<<10)
	var d schema.Decoder
	var operation *schema.Operation
	for {
		segment, err := readPrefixed(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		var encoded []byte
		if err == nil {
			encoded, err = readPrefixed(r)
		}
		var a extra
		if err == nil {
			err = json.Unmarshal(encoded, &a)
		}
		var read *schema.Segment
		if err == nil {
			read, err = d.Segment(segment)
		}
		if err != nil {
			return fmt.Errorf("read the records from a temporary file: %w", err)
		}
		if a.Operation {
			operation = read.Operation
		}
		each(&Record{Record: read.Records[0], Operation: operation, Lost: a.Lost, Faults: a.Faults, Form: a.Form, Place: a.Place, Part: a.Part})
	}
}

// readPrefixed reads data with a length prefix. It returns io.EOF if there is none.
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
