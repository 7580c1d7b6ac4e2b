package transfer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ttydrain/ttydrain/schema"
)

// observe runs OpenSSH's sftp client against its server with an observer between them, and returns
// the reports.
func observe(t *testing.T, dir, batch string) (reports []schema.Detail) {
	t.Helper()
	const server = "/usr/lib/openssh/sftp-server"
	sftp, err := exec.LookPath("sftp")
	if _, statErr := os.Stat(server); err != nil || statErr != nil {
		if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") != "" {
			t.Fatal("OpenSSH's sftp is not installed: apt-get install openssh-client openssh-sftp-server")
		}
		t.Skip("SKIPPED, NOT TESTED: OpenSSH's sftp is not installed: apt-get install openssh-client openssh-sftp-server")
	}
	// sftp -D runs a program in place of ssh. This one is a pipe to the test.
	file := filepath.Join(dir, "batch")
	if err := os.WriteFile(file, []byte(batch), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"up", "down"} {
		if out, err := exec.Command("mkfifo", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Fatalf("mkfifo: %v: %s", err, out)
		}
	}
	relay := filepath.Join(dir, "relay")
	if err := os.WriteFile(relay, []byte(fmt.Sprintf("#!/bin/sh\ncat '%s/down' & cat > '%s/up'; wait\n", dir, dir)), 0o700); err != nil {
		t.Fatal(err)
	}
	client := exec.Command(sftp, "-b", file, "-D", relay)
	client.Dir = dir
	var said bytes.Buffer
	client.Stdout, client.Stderr = &said, &said
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	program := exec.Command(server)
	program.Dir = dir
	stdin, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	down, err := os.OpenFile(filepath.Join(dir, "down"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	up, err := os.Open(filepath.Join(dir, "up"))
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	var mu sync.Mutex
	o := New(func(d *schema.Detail) {
		mu.Lock()
		defer mu.Unlock()
		reports = append(reports, *d)
	})
	var both sync.WaitGroup
	both.Go(func() {
		defer stdin.Close()
		if err := o.Requests(stdin, up); err != nil {
			t.Error(err)
		}
	})
	both.Go(func() {
		defer down.Close()
		if err := o.Answers(down, stdout); err != nil {
			t.Error(err)
		}
	})
	if err := client.Wait(); err != nil {
		t.Errorf("sftp: %v: %s", err, said.String())
	}
	both.Wait()
	program.Wait()
	o.Close()
	return reports
}

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func describe(d schema.Detail) string {
	return fmt.Sprintf("%s %s %d %s %s", d.Direction, filepath.Base(d.Path), *d.Size, d.SHA256, d.Reason)
}

// TestTransfers copies files of several sizes in both directions between OpenSSH's client and
// server, and checks the reported sizes and digests.
func TestTransfers(t *testing.T) {
	dir := t.TempDir()
	rng := rand.NewChaCha8([32]byte{1})
	var batch strings.Builder
	var want []string
	for i, size := range []int{0, 1, 32768, 5_000_000} {
		content := make([]byte, size)
		rng.Read(content)
		name := fmt.Sprintf("file-%d", i)
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&batch, "put %s copy-%d\nget copy-%d back-%d\n", name, i, i, i)
		want = append(want, fmt.Sprintf("upload copy-%d %d %s ", i, size, sumOf(content)), fmt.Sprintf("download copy-%d %d %s ", i, size, sumOf(content)))
	}
	batch.WriteString("ls\nmkdir d\nrename copy-1 d/moved\n-get missing\n")
	var got []string
	for _, d := range observe(t, dir, batch.String()) {
		got = append(got, describe(d))
	}
	if !slices.Equal(got, want) {
		t.Errorf("reported are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for i := range 4 {
		one, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("file-%d", i)))
		two, err2 := os.ReadFile(filepath.Join(dir, fmt.Sprintf("back-%d", i)))
		if err != nil || err2 != nil || !bytes.Equal(one, two) {
			t.Errorf("file %d did not come through: %v, %v", i, err, err2)
		}
	}
}

// packet returns a packet of fields: bytes for type 0, uint32, uint64 and strings.
func packet(kind byte, fields ...any) []byte {
	b := []byte{kind}
	for _, f := range fields {
		switch f := f.(type) {
		case uint32:
			b = binary.BigEndian.AppendUint32(b, f)
		case uint64:
			b = binary.BigEndian.AppendUint64(b, f)
		case string:
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
		}
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// conversation passes packets through an observer one after the other: types above 100 as answers,
// the others as requests.
func conversation(t *testing.T, packets ...[]byte) (reports []string, err error) {
	t.Helper()
	o := New(func(d *schema.Detail) { reports = append(reports, describe(*d)) })
	for _, p := range packets {
		pass := o.Requests
		if p[4] > 100 || p[4] == typeVersion {
			pass = o.Answers
		}
		var to bytes.Buffer
		if err := pass(&to, bytes.NewReader(p)); err != nil {
			return reports, err
		}
		if !bytes.Equal(to.Bytes(), p) {
			t.Errorf("%q was passed on as %q", p, to.Bytes())
		}
	}
	o.Close()
	return reports, nil
}

func TestOrderOfPieces(t *testing.T) {
	open := func(flags uint32) [][]byte {
		return [][]byte{packet(typeInit, uint32(3)), packet(typeVersion, uint32(3)),
			packet(typeOpen, uint32(1), "f", flags, uint32(0)), packet(typeHandle, uint32(1), "h")}
	}
	write := func(id uint32, offset uint64, data string, code uint32) [][]byte {
		return [][]byte{packet(typeWrite, id, "h", offset, data), packet(typeStatus, id, code, "", "")}
	}
	read := func(id uint32, offset uint64, data string) [][]byte {
		return [][]byte{packet(typeRead, id, "h", offset, uint32(100)), packet(typeData, id, data)}
	}
	closing := [][]byte{packet(typeClose, uint32(99), "h"), packet(typeStatus, uint32(99), uint32(0), "", "")}
	for name, test := range map[string]struct {
		packets [][]byte
		want    []string
	}{
		"written ahead":     {slices.Concat(open(2), write(2, 3, "def", 0), write(3, 0, "abc", 0), closing), []string{"upload f 6 " + sumOf([]byte("abcdef")) + " "}},
		"hole":              {slices.Concat(open(2), write(2, 3, "def", 0), closing), []string{"upload f 3  "}},
		"written twice":     {slices.Concat(open(2), write(2, 0, "abc", 0), write(3, 0, "xyz", 0), closing), []string{"upload f 6  "}},
		"refused":           {slices.Concat(open(2), write(2, 0, "abc", 4), closing), []string{"upload f 3  the server refused a part"}},
		"not closed":        {slices.Concat(open(1), read(2, 0, "abc")), []string{"download f 3 " + sumOf([]byte("abc")) + " it was interrupted"}},
		"both":              {slices.Concat(open(3), read(2, 0, "abc"), write(3, 0, "x", 0), closing), []string{"upload f 1 " + sumOf([]byte("x")) + " ", "download f 3 " + sumOf([]byte("abc")) + " "}},
		"opened, not read":  {slices.Concat(open(1), closing), nil},
		"folder":            {[][]byte{packet(11, uint32(1), "d"), packet(typeHandle, uint32(1), "h"), packet(typeClose, uint32(2), "h"), packet(typeStatus, uint32(2), uint32(0))}, nil},
		"answer to nothing": {[][]byte{packet(typeData, uint32(7), "abc"), packet(typeHandle, uint32(8), "h")}, nil},
	} {
		if got, err := conversation(t, test.packets...); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, test.want)
		}
	}
}

func TestMalformed(t *testing.T) {
	for name, p := range map[string][]byte{
		"empty":         {0, 0, 0, 0, typeOpen},
		"too long":      {0, 5, 0, 0, typeWrite},
		"cut path":      packet(typeOpen, uint32(1), uint32(50)),
		"no identifier": packet(typeClose),
		"no offset":     packet(typeWrite, uint32(1), "h", uint32(0)),
		"other version": packet(typeVersion, uint32(6)),
	} {
		if _, err := conversation(t, p); err == nil {
			t.Errorf("%s: it was passed on", name)
		}
	}
	var endless [][]byte
	for i := range uint32(maxPending + 1) {
		endless = append(endless, packet(typeRead, i, "h", uint64(0), uint32(1)))
	}
	if _, err := conversation(t, endless...); err == nil {
		t.Error("requests without answers are not bounded")
	}
}

func FuzzObserver(f *testing.F) {
	f.Add(packet(typeOpen, uint32(1), "f", uint32(2), uint32(0)), packet(typeHandle, uint32(1), "h"))
	f.Add(packet(typeWrite, uint32(1), "h", uint64(1<<63), "abc"), packet(typeStatus, uint32(1), uint32(0), "", ""))
	f.Fuzz(func(t *testing.T, requests, answers []byte) {
		o := New(func(d *schema.Detail) {
			if d.Direction == "" || d.Size == nil {
				t.Errorf("reported is %+v", d)
			}
		})
		for _, err := range []error{o.Requests(io.Discard, bytes.NewReader(requests)), o.Answers(io.Discard, bytes.NewReader(answers))} {
			if err != nil && !errors.Is(err, errMalformed) && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "SFTP") && !strings.Contains(err.Error(), "files") {
				t.Error(err)
			}
		}
		o.Close()
	})
}
