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

// The gateway and a session's init exchange gob over a socket pair: both are the same program, and
// gob preserves the bytes of strings. Nothing is passed in arguments or in the environment, which
// other processes could read.
//
// Each message is a separate gob stream with a length prefix: the state of a continuous stream
// would take 30 KiB for each of the gateway's many sessions, which exchange nothing between their
// start and their end.

// maxWire exceeds the size of any message.
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
		return fmt.Errorf("invalid message of %d bytes", n)
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
	// OneUser: the session can only run as the gateway's user, because its user namespace has no
	// other.
	OneUser bool
	// Features are the required features. A probe tries all.
	Features []Feature
	// Filter is the system call filter for Seccomp.
	Filter []filterInstruction
	// Secrets are the private files to hide.
	Secrets secrets
	// NoNetwork and Writable are those of the Spec.
	NoNetwork, Writable bool
	// Root is "" for the host's root.
	Root string
	// Scratch is a folder for home and temporary files if there is no mount namespace.
	Scratch string
	// Gateway is the gateway's account, User the name or ID of the session's user; "" lets the
	// gateway choose.
	Gateway account
	User    string
	// OwnUser is the ID of the session's own user and group, 0 for none. It is in the range IDs,
	// which a user namespace maps in addition.
	OwnUser int
	IDs     UserRange
	Command []string
	Env     []string
	// Interactive reports that Terminal is set.
	Interactive bool
	Terminal    session.Terminal
	Memory      int64
	// DataLimit and ProcessLimit are the values of RLIMIT_DATA and RLIMIT_NPROC, 0 for none.
	DataLimit, ProcessLimit int64
	// groupLimits are the limits of the control groups, which the gateway sets.
	groupLimits limits
	// Probe: do everything except starting a command.
	Probe bool
}

// order is any later message to the init. The end of the connection is the order to end.
type order struct {
	// Signal is the signal to send, 0 for none.
	Signal int
	// Hide are the private files to hide from now on, nil for no change.
	Hide *secrets
	// HangUp closes the init's end of the terminal, which hangs up when the gateway's end is
	// closed, too.
	HangUp bool
}

// event is a message from the init.
type event struct {
	Kind eventKind
	// Message is the text of a failure; Refusal reports that it is meant for the user.
	Message string
	Refusal bool
	// Status is the command's wait status from wait4(2), for an exit.
	Status uint32
	// Lacks holds the features that a probe could not enable, and why.
	Lacks map[Feature]string
}

type eventKind int

const (
	eventStarted eventKind = iota + 1 // carries the terminal's descriptor, if there is one
	eventFailed
	eventExit
	eventNotHidden // the files of an order could not be hidden; Message has the reason
)

// socketPair creates both ends of the connection: this process's, and the file for the init.
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

// unixConn returns a connection for a socket's descriptor, which it takes over.
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

// eventReader reads the init's events, and the descriptor that one of them carries.
type eventReader struct {
	conn *net.UnixConn
	fd   int // -1 until one has arrived; its receiver owns it
}

func newEventReader(c *net.UnixConn) *eventReader {
	return &eventReader{conn: c, fd: -1}
}

func (r *eventReader) next() (event, error) {
	var e event
	err := receive(r, &e)
	return e, err
}

// Read implements io.Reader for receive.
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

// eventWriter sends events from the init; the next one carries fd unless it is -1.
type eventWriter struct {
	conn *net.UnixConn

	mu sync.Mutex // guards fd, and keeps messages separate
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

// Write implements io.Writer for send.
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
