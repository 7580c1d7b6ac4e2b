package sandbox

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// The gateway and a session's init speak gob over a pair of sockets: both are the same program, and
// gob keeps a string's bytes as they are. Nothing of it is in an argument or in the environment,
// which other processes could read.
//
// Each message is for itself, behind its length: what gob keeps for a conversation is 30 KiB for
// each session, of which the gateway has many, and between its start and its end a session says
// nothing.

// maxWire is more than any message has.
const maxWire = 64 << 20

// send writes a message.
func send(w io.Writer, message any) error {
	b := bytes.NewBuffer(make([]byte, 4, 512))
	if err := gob.NewEncoder(b).Encode(message); err != nil {
		return err
	}
	binary.BigEndian.PutUint32(b.Bytes(), uint32(b.Len()-4))
	_, err := w.Write(b.Bytes())
	return err
}

// receive reads a message.
func receive(r io.Reader, message any) error {
	length := make([]byte, 4)
	if _, err := io.ReadFull(r, length); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(length)
	if n > maxWire {
		return fmt.Errorf("a message of %d bytes is none", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	return gob.NewDecoder(bytes.NewReader(b)).Decode(message)
}

// setup is the first and largest message to the init: what to start, and where.
type setup struct {
	Name          string
	Namespaces    bool
	UserNamespace bool
	// OneUser: the session can be no other user than the gateway, since its user namespace has no
	// other.
	OneUser bool
	// Features are those that the session must get. A probe tries all of them.
	Features []Feature
	// Filter is of system calls, for Seccomp.
	Filter []filterInstruction
	// Secrets are the private files to hide.
	Secrets secrets
	// NoNetwork, Writable are the Spec's.
	NoNetwork, Writable bool
	// Root is "" for the host's.
	Root string
	// Scratch is a folder for home and temporary files where there is no mount namespace.
	Scratch string
	// Gateway is the gateway's account, User the name or number of the session's; "" is for the
	// gateway to choose.
	Gateway account
	User    string
	// OwnUser is the number of a user and a group that the session has to itself, 0 for none. It is
	// one of IDs, which a user namespace has besides.
	OwnUser int
	IDs     UserRange
	Command []string
	Env     []string
	// Interactive says that Terminal is meant.
	Interactive bool
	Terminal    session.Terminal
	Memory      int64
	// DataLimit and ProcessLimit are the RLIMIT_DATA and the RLIMIT_NPROC to set, 0 for none.
	DataLimit, ProcessLimit int64
	// groupLimits are those of the control groups, which the gateway sets.
	groupLimits limits
	// Probe: do everything but start a command.
	Probe bool
}

// order is every further message to the init. The end of the messages is the order to end.
type order struct {
	// Signal is the signal to send, 0 for none.
	Signal int
	// Hide are the private files to hide from now on, nil for no change.
	Hide *secrets
	// HangUp closes the init's end of the terminal, which hangs up when the gateway's is closed,
	// too.
	HangUp bool
}

// event is a message from the init.
type event struct {
	Kind eventKind
	// Message is a failure's text; Refusal says that it is meant for the person.
	Message string
	Refusal bool
	// Status is the command's wait status as wait4(2) gives it, with an exit.
	Status uint32
	// Lacks are the features that a probe could not have, and why.
	Lacks map[Feature]string
}

type eventKind int

const (
	eventStarted eventKind = iota + 1 // brings the terminal's descriptor, if there is one
	eventFailed
	eventExit
	eventNotHidden // what an order wanted hidden is not; Message says why
)

// socketPair makes both ends of the connection: this process's, and the file for the init.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a pair of sockets: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "init")
	conn, err := unixConn(fds[0])
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

// unixConn makes a connection of a socket's descriptor, which it takes over.
func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "session")
	defer f.Close() // FileConn has duplicated it
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("using a socket: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("using a socket: it is a %T", c)
	}
	return u, nil
}

// eventReader reads the init's events, and the descriptor that one of them brings.
type eventReader struct {
	conn *net.UnixConn
	fd   int // -1 until one has come; whoever takes it owns it
}

func newEventReader(c *net.UnixConn) *eventReader {
	return &eventReader{conn: c, fd: -1}
}

func (r *eventReader) next() (event, error) {
	var e event
	err := receive(r, &e)
	return e, err
}

// Read is for receive.
func (r *eventReader) Read(p []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := r.conn.ReadMsgUnix(p, oob) // sets close-on-exec on what it receives
	if err != nil {
		return 0, err
	}
	if oobn > 0 {
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return 0, fmt.Errorf("receiving a descriptor: %w", err)
		}
		for _, m := range messages {
			fds, err := unix.ParseUnixRights(&m)
			if err != nil {
				return 0, fmt.Errorf("receiving a descriptor: %w", err)
			}
			for _, fd := range fds {
				if r.fd >= 0 {
					unix.Close(r.fd)
				}
				r.fd = fd
			}
		}
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// eventWriter sends events from the init; the next one takes fd along if that is not -1.
type eventWriter struct {
	conn *net.UnixConn

	mu sync.Mutex // guards fd, and keeps messages apart
	fd int
}

func newEventWriter(c *net.UnixConn) *eventWriter {
	return &eventWriter{conn: c, fd: -1}
}

func (w *eventWriter) send(e event, fd int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fd = fd
	return send(w, e)
}

// Write is for send.
func (w *eventWriter) Write(p []byte) (int, error) {
	if w.fd < 0 {
		return w.conn.Write(p)
	}
	n, _, err := w.conn.WriteMsgUnix(p, unix.UnixRights(w.fd), nil)
	w.fd = -1
	if err == nil && n < len(p) {
		var m int
		m, err = w.conn.Write(p[n:])
		n += m
	}
	return n, err
}
