package schema

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "create the golden files that are missing; existing ones are never changed")

// writeMissing creates a golden file. An existing one is kept: the output of a released version has
// to be readable for ever.
func writeMissing(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func TestUpdateNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "golden")
	for _, data := range []string{"first", "second"} {
		if err := writeMissing(path, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "first" {
		t.Errorf("the file was overwritten: %q", got)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := writeMissing(path, got); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v\nrun go test ./schema -update to create golden files that are missing", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: the wire format changed. A released format stays: give the new one another version.\ngot:  %q\nwant: %q", path, got, want)
	}
}

// This version writes the same as the first version that had the frames, the events and the state.
func TestGoldenWrite(t *testing.T) {
	if chunkVersion != 2 || segmentVersion != 4 {
		t.Fatal("another version: write its golden files to a folder of its own; TestGoldenRead keeps reading these")
	}
	small := &Chunk{Frames: []Frame{{Kind: FrameStdout, Time: 1_772_357_400_000_000_000, Payload: []byte("$ ")}}}
	for name, c := range map[string]*Chunk{"chunk": testChunk(t), "chunk-one-frame": small, "chunk-no-frames": {Ordinal: 1}} {
		golden(t, "v1/"+name+".bin", AppendChunk(nil, c))
		golden(t, "v1/"+name+".txt", []byte(dumpChunk(c)))
	}
	files := testFiles(t)
	golden(t, "v2/chunk-files.bin", AppendChunk(nil, files))
	golden(t, "v2/chunk-files.txt", []byte(dumpChunk(files)))
	all := testSegment()
	one := testSegment()
	one.Records = one.Records[4:5]
	one.Resume = Resume{Consumed: [2]uint64{1 << 40, 0}, Events: 1, Sequence: 5, Digest: one.Resume.Digest, TextDigest: one.Resume.TextDigest}
	terminal := testSegment()
	terminal.Records, terminal.Resume = one.Records, one.Resume
	terminal.Resume.Terminal = []byte("\x01opaque here: package enrich's")
	input := testSegment()
	input.Records, input.Resume = fileRecords(one.Records[0]), one.Resume
	input.Resume.Sequence = input.Records[len(input.Records)-1].Sequence
	checkpoint := testSegment()
	checkpoint.Records, checkpoint.Resume = checkpointRecords(one.Records[0]), one.Resume
	checkpoint.Resume.Sequence = checkpoint.Records[len(checkpoint.Records)-1].Sequence
	checkpoint.Resume.Proof, checkpoint.Resume.Terminal = []byte("\x01opaque here, too"), terminal.Resume.Terminal
	proof := testSegment()
	proof.Records, proof.Resume = one.Records, one.Resume
	proof.Resume.Proof = checkpoint.Resume.Proof
	for name, s := range map[string]*Segment{"v4/segment-checkpoint": checkpoint, "v2/segment-proof": proof, "v3/segment-files": input, "v1/segment": all, "v1/segment-one-record": one, "v2/segment-terminal": terminal} {
		golden(t, name+".bin", encodeSegment(t, s))
		golden(t, name+".txt", []byte(dumpSegment(s)))
	}
	var records []byte
	var e Encoder
	for i := range all.Records {
		var err error
		if records, err = e.AppendRecord(records, all.Operation, &all.Records[i]); err != nil {
			t.Fatal(err)
		}
		records = append(records, '\n')
	}
	golden(t, "v1/records.ndjson", records)
}

// Every golden file of every version can be read, and its content matches the readable file next to
// it.
func TestGoldenRead(t *testing.T) {
	files, err := filepath.Glob("testdata/v*/*.bin")
	if err != nil {
		t.Fatal(err)
	}
	chunks, segments := 0, 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(strings.TrimSuffix(file, ".bin") + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if strings.HasPrefix(filepath.Base(file), "chunk") {
			chunks++
			var c Chunk
			if err := DecodeChunk(data, &c); err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			got = dumpChunk(&c)
		} else {
			segments++
			var d Decoder
			s, err := d.Segment(data)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			got = dumpSegment(s)
		}
		if got != string(want) {
			t.Errorf("%s is read as\n%s\nwant\n%s", file, got, want)
		}
	}
	if chunks == 0 || segments == 0 {
		t.Errorf("found %d chunks and %d segments: some of each must be there", chunks, segments)
	}
}
