package client

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEncodeModes(t *testing.T) {
	termios := &unix.Termios{
		Iflag: unix.ICRNL | unix.IUTF8, Oflag: unix.OPOST, Lflag: unix.ISIG | unix.ECHO, Cflag: unix.CS8,
	}
	termios.Cc[unix.VINTR], termios.Cc[unix.VERASE], termios.Cc[unix.VSUSP] = 3, 8, 0
	got := make(map[byte]uint32)
	modes := encodeModes(termios)
	for rest := modes; len(rest) > 0; rest = rest[5:] {
		if _, twice := got[rest[0]]; twice {
			t.Errorf("opcode %d twice", rest[0])
		}
		got[rest[0]] = binary.BigEndian.Uint32(rest[1:5])
	}
	for op, want := range map[byte]uint32{
		1: 3, 3: 8, 10: 255, // characters
		36: 1, 42: 1, 38: 0, // ICRNL, IUTF8, IXON
		50: 1, 53: 1, 51: 0, // ISIG, ECHO, ICANON
		70: 1, 72: 0, // OPOST, ONLCR
		91: 1, 92: 0,
	} {
		if value, ok := got[op]; !ok || value != want {
			t.Errorf("opcode %d is %d, %t; want %d", op, value, ok, want)
		}
	}
	if !bytes.Equal(modes, encodeModes(termios)) {
		t.Error("not the same twice")
	}
}

func TestStatus(t *testing.T) {
	for _, test := range []struct {
		name         string
		status, want int
	}{
		{"TERM", 0, 143}, {"KILL", 137, 137}, {"USR1", 0, 138}, {"BUS@ttydrain", 135, 135}, {"BUS@openssh.com", 0, 135},
		{"ODD@example.com", 0, 255}, {"ODD@example.com", 190, 190}, {"", 0, 255},
	} {
		if got := signalStatus(test.name, test.status); got != test.want {
			t.Errorf("%s with %d: %d, want %d", test.name, test.status, got, test.want)
		}
	}
	for status, want := range map[uint32]int{0: 0, 1: 1, 255: 255, 256: 255, 1 << 31: 255} {
		if got := exitStatus(status); got != want {
			t.Errorf("%d: %d, want %d", status, got, want)
		}
	}
}
