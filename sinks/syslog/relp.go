package syslog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// RELP numbers its frames. The server answers each frame by its number, and may do so late:
//
//	TRANSACTION SP COMMAND SP LENGTH [SP DATA] LF
//
// The commands are open, syslog and close of the client, and rsp and serverclose (with the
// transaction 0) of the server. The data of a rsp begins with a status: 200, or 500 for a frame
// that was refused.
const (
	maxTransaction = 999_999_999
	// maxAnswer bounds the data of a response, of which that to open is the longest.
	maxAnswer = 16 << 10
	// relpOffer is the data of open (version, software and commands).
	relpOffer = "relp_version=0\nrelp_software=ttydrain\ncommands=syslog"
)

var (
	errNotRELP      = errors.New("what listens there does not speak RELP")
	errServerClosed = fmt.Errorf("the drain closes the session: %w", io.EOF)
)

// A relpFrame is one frame of the server's.
type relpFrame struct {
	transaction int
	command     string
	data        string
}

// readFrame reads a frame. The error quotes nothing of it.
func readFrame(r *bufio.Reader) (f relpFrame, err error) {
	if f.transaction, _, err = readNumber(r, " "); err != nil {
		return f, err
	}
	var command []byte
	for c := byte(0); ; command = append(command, c) {
		if c, err = r.ReadByte(); err != nil {
			return f, err
		}
		if c == ' ' {
			break
		}
		if c < 'a' || c > 'z' || len(command) == 32 {
			return f, errNotRELP
		}
	}
	f.command = string(command)
	length, end, err := readNumber(r, " \n")
	switch {
	case err != nil:
		return f, err
	case end == '\n' && length == 0:
		return f, nil
	case end == '\n', length > maxAnswer:
		return f, errNotRELP
	}
	data := make([]byte, length+1)
	if _, err := io.ReadFull(r, data); err != nil {
		return f, err
	}
	if data[length] != '\n' {
		return f, errNotRELP
	}
	f.data = string(data[:length])
	return f, nil
}

// readNumber reads a number of at most nine digits, and the byte after it, which is one of ends.
func readNumber(r *bufio.Reader, ends string) (n int, end byte, err error) {
	for digits := 0; ; digits++ {
		c, err := r.ReadByte()
		if err != nil {
			return 0, 0, err
		}
		if digits > 0 && strings.IndexByte(ends, c) >= 0 {
			return n, c, nil
		}
		if c < '0' || c > '9' || digits == 9 {
			return 0, 0, errNotRELP
		}
		n = n*10 + int(c-'0')
	}
}

// appendFrame appends a frame of the client's.
func appendFrame(dst []byte, transaction int, command, data string) []byte {
	dst = strconv.AppendInt(dst, int64(transaction), 10)
	dst = append(append(append(dst, ' '), command...), ' ')
	dst = strconv.AppendInt(dst, int64(len(data)), 10)
	if data != "" {
		dst = append(append(dst, ' '), data...)
	}
	return append(dst, '\n')
}

// relpAnswers are the server's answers to the frames of one connection. The goroutine that reads
// the connection adds to them, and the one that writes waits for them.
type relpAnswers struct {
	changed chan struct{} // has an element when there are new answers

	mu       sync.Mutex   // guards what follows
	sent     int          // the highest transaction that the server can have
	answered int          // all transactions up to it are answered well
	early    map[int]bool // answered well before one with a lower number
	refused  int          // the status of a transaction that was refused; 0 for none
	open     string       // the response to open
}

func newRELPAnswers() *relpAnswers {
	return &relpAnswers{changed: make(chan struct{}, 1), early: make(map[int]bool)}
}

// read reads answers until the connection ends.
func (a *relpAnswers) read(r io.Reader) error {
	buffered := bufio.NewReader(r)
	for {
		f, err := readFrame(buffered)
		switch {
		case err != nil:
			return err
		case f.command == "serverclose":
			return errServerClosed
		case f.command != "rsp" || f.transaction == 0:
			return errNotRELP
		}
		if err := a.add(f); err != nil {
			return err
		}
		select {
		case a.changed <- struct{}{}:
		default:
		}
	}
}

func (a *relpAnswers) add(f relpFrame) error {
	status, rest := 200, f.data
	if f.data != "" { // the response to close has no data
		text, after, _ := strings.Cut(f.data, " ")
		text, _, _ = strings.Cut(text, "\n")
		var err error
		if status, err = strconv.Atoi(text); err != nil || len(text) != 3 {
			return errNotRELP
		}
		rest = after
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if status != 200 {
		if a.refused == 0 {
			a.refused = status
		}
		return nil
	}
	if f.transaction == 1 {
		a.open = rest
	}
	if f.transaction > a.sent {
		return errNotRELP // it answers a frame that was not sent
	}
	if f.transaction > a.answered {
		a.early[f.transaction] = true
	}
	for a.early[a.answered+1] {
		a.answered++
		delete(a.early, a.answered)
	}
	return nil
}

// sending notes that all transactions up to one are sent.
func (a *relpAnswers) sending(transaction int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sent = transaction
}

// state returns up to which transaction all are answered well, and the status of one that was
// refused.
func (a *relpAnswers) state() (answered, refused int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.answered, a.refused
}

// offers returns a value of the response to open, such as that of commands.
func (a *relpAnswers) offers(name string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for line := range strings.Lines(a.open) {
		if value, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), name+"="); ok {
			return value
		}
	}
	return ""
}
