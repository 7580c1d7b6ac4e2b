package transfer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Types of the packets that an [Observer] inspects (draft-ietf-secsh-filexfer-02, section 3).
const (
	typeInit    = 1
	typeVersion = 2
	typeOpen    = 3
	typeClose   = 4
	typeRead    = 5
	typeWrite   = 6
	typeStatus  = 101
	typeHandle  = 102
	typeData    = 103
)

// Flags of an open request (section 6.3).
const (
	flagRead  = 1
	flagWrite = 2
)

// Status codes (section 7).
const (
	statusOK  = 0
	statusEOF = 1
)

const (
	// version is the only supported version of the protocol. OpenSSH's server supports no other.
	version = 3
	// maxPacket is the maximum length of a packet, as in OpenSSH.
	maxPacket = 256 << 10
)

// errMalformed is returned for packets that violate the protocol.
var errMalformed = errors.New("a malformed SFTP packet")

// forward copies packets and calls look with the type and the content of each before it is written.
// The content is valid only during the call.
func forward(to io.Writer, from io.Reader, look func(kind byte, content []byte) error) error {
	packet := make([]byte, 4, 36<<10)
	for {
		packet = packet[:4]
		if _, err := io.ReadFull(from, packet); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read an SFTP packet: %w", err)
		}
		length := binary.BigEndian.Uint32(packet)
		if length < 1 || length > maxPacket {
			return fmt.Errorf("%w: its length is %d", errMalformed, length)
		}
		if n := 4 + int(length); cap(packet) < n {
			packet = append(make([]byte, 0, n), packet...)
		}
		packet = packet[:4+length]
		if _, err := io.ReadFull(from, packet[4:]); err != nil {
			return fmt.Errorf("read an SFTP packet: %w", err)
		}
		if err := look(packet[4], packet[5:]); err != nil {
			return err
		}
		if _, err := to.Write(packet); err != nil {
			return fmt.Errorf("pass on an SFTP packet: %w", err)
		}
	}
}

// fields reads the fields of a packet one after the other. Reading past the end sets bad.
type fields struct {
	data []byte
	bad  bool
}

func (f *fields) uint32() uint32 {
	if len(f.data) < 4 {
		f.bad, f.data = true, nil
		return 0
	}
	v := binary.BigEndian.Uint32(f.data)
	f.data = f.data[4:]
	return v
}

func (f *fields) uint64() uint64 { return uint64(f.uint32())<<32 | uint64(f.uint32()) }

func (f *fields) bytes() []byte {
	n := f.uint32()
	if uint64(n) > uint64(len(f.data)) {
		f.bad, f.data = true, nil
		return nil
	}
	b := f.data[:n]
	f.data = f.data[n:]
	return b
}
