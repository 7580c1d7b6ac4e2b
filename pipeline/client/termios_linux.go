package client

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	readTermios       = unix.TCGETS
	flushWriteTermios = unix.TCSETSF
)

// flushInput discards the unread input of a terminal.
func flushInput(fd int) error { return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH) }

// The Linux constants for the opcodes of RFC 4254 §8, and of RFC 8160 for IUTF8.
var (
	characterModes = map[byte]int{
		1: unix.VINTR, 2: unix.VQUIT, 3: unix.VERASE, 4: unix.VKILL, 5: unix.VEOF, 6: unix.VEOL, 7: unix.VEOL2,
		8: unix.VSTART, 9: unix.VSTOP, 10: unix.VSUSP, 12: unix.VREPRINT, 13: unix.VWERASE, 14: unix.VLNEXT,
		16: unix.VSWTC, 18: unix.VDISCARD,
	}
	inputModes = [...]uint32{ // from 30
		unix.IGNPAR, unix.PARMRK, unix.INPCK, unix.ISTRIP, unix.INLCR, unix.IGNCR, unix.ICRNL, unix.IUCLC,
		unix.IXON, unix.IXANY, unix.IXOFF, unix.IMAXBEL, unix.IUTF8,
	}
	localFlagModes = [...]uint32{ // from 50
		unix.ISIG, unix.ICANON, unix.XCASE, unix.ECHO, unix.ECHOE, unix.ECHOK, unix.ECHONL, unix.NOFLSH,
		unix.TOSTOP, unix.IEXTEN, unix.ECHOCTL, unix.ECHOKE, unix.PENDIN,
	}
	outputModes = [...]uint32{ // from 70
		unix.OPOST, unix.OLCUC, unix.ONLCR, unix.OCRNL, unix.ONOCR, unix.ONLRET,
	}
)

// localModes returns the encoded modes of a terminal, so that the keys for erasing and interrupting
// are the same in the session. It returns nil if they cannot be read.
func localModes(fd int) []byte {
	t, err := unix.IoctlGetTermios(fd, readTermios)
	if err != nil {
		return nil
	}
	return encodeModes(t)
}

func encodeModes(t *unix.Termios) []byte {
	var modes []byte
	add := func(op int, value uint32) {
		modes = binary.BigEndian.AppendUint32(append(modes, byte(op)), value)
	}
	flag := func(op int, word, mask uint32) {
		var value uint32
		if word&mask == mask {
			value = 1
		}
		add(op, value)
	}
	for op := range 30 {
		index, ok := characterModes[byte(op)]
		if !ok {
			continue
		}
		value := uint32(t.Cc[index])
		if value == 0 { // disabled
			value = 255
		}
		add(op, value)
	}
	for i, mask := range inputModes {
		flag(30+i, t.Iflag, mask)
	}
	for i, mask := range localFlagModes {
		flag(50+i, t.Lflag, mask)
	}
	for i, mask := range outputModes {
		flag(70+i, t.Oflag, mask)
	}
	flag(91, t.Cflag, unix.CS8)
	flag(92, t.Cflag, unix.PARENB)
	flag(93, t.Cflag, unix.PARODD)
	// A pseudo-terminal has no speed, but programs take speed 0 for a hangup.
	add(128, 38400)
	add(129, 38400)
	return modes
}
