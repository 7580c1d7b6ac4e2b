package sandbox

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// openTerminal opens a new PTY through the ptmx device, and sets it up as the client's terminal.
// Both descriptors are blocking and close-on-exec, and belong to the caller; the terminal belongs
// to the owner.
func openTerminal(ptmx string, t session.Terminal, owner account) (master, slave int, err error) {
	master, err = unix.Open(ptmx, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("opening a terminal at %s: %w", ptmx, err)
	}
	defer func() {
		if err != nil {
			unix.Close(master)
		}
	}()
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, -1, fmt.Errorf("unlocking the terminal: %w", err)
	}
	number, err := unix.IoctlGetUint32(master, unix.TIOCGPTN)
	if err != nil {
		return -1, -1, fmt.Errorf("asking for the terminal's number: %w", err)
	}
	name := "/dev/pts/" + strconv.Itoa(int(number))
	slave, err = unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("opening %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			unix.Close(slave)
		}
	}()
	if owner.UID != os.Getuid() {
		if err := unix.Fchown(slave, owner.UID, -1); err != nil {
			return -1, -1, fmt.Errorf("giving the terminal to its user: %w", err)
		}
	}
	tio, err := unix.IoctlGetTermios(slave, unix.TCGETS)
	if err != nil {
		return -1, -1, fmt.Errorf("reading the terminal's modes: %w", err)
	}
	applyModes(tio, t.Modes)
	if err := unix.IoctlSetTermios(slave, unix.TCSETS, tio); err != nil {
		return -1, -1, fmt.Errorf("setting the terminal's modes: %w", err)
	}
	if err := unix.IoctlSetWinsize(slave, unix.TIOCSWINSZ, winsize(t.Size)); err != nil {
		return -1, -1, fmt.Errorf("setting the terminal's size: %w", err)
	}
	return master, slave, nil
}

// winsize converts the size for the kernel, limited to its range.
func winsize(s session.Size) *unix.Winsize {
	in := func(n int) uint16 { return uint16(min(max(n, 0), 0xffff)) }
	return &unix.Winsize{Col: in(s.Width), Row: in(s.Height), Xpixel: in(s.PixelWidth), Ypixel: in(s.PixelHeight)}
}

// applyModes applies the encoded terminal modes of RFC 4254 §8 (and IUTF8 of RFC 8160): pairs of an
// opcode and a 32-bit argument, up to opcode 0 or the first one from 160 on, whose format is
// undefined. It ignores modes that Linux does not have (VDSUSP, VSTATUS, VFLUSH's old meaning, CS5
// and 6) and the speeds, which have no meaning for a PTY.
func applyModes(tio *unix.Termios, modes []byte) {
	for len(modes) >= 5 && modes[0] != 0 && modes[0] < 160 {
		op, value := modes[0], binary.BigEndian.Uint32(modes[1:5])
		modes = modes[5:]
		if index, ok := controlCharacter(op); ok {
			c := uint8(value)
			if value == 255 {
				c = 0 // disabled: _POSIX_VDISABLE is 0 on Linux
			}
			tio.Cc[index] = c
			continue
		}
		word, mask := modeFlag(tio, op)
		if word == nil {
			continue
		}
		switch op {
		case 90, 91: // CS7, CS8: a two-bit size, of which only a set value matters
			if value != 0 {
				*word = *word&^unix.CSIZE | mask
			}
		default:
			if *word &^= mask; value != 0 {
				*word |= mask
			}
		}
	}
}

// controlCharacter returns the index in c_cc of an opcode from 1 to 18.
func controlCharacter(op byte) (int, bool) {
	switch op {
	case 1:
		return unix.VINTR, true
	case 2:
		return unix.VQUIT, true
	case 3:
		return unix.VERASE, true
	case 4:
		return unix.VKILL, true
	case 5:
		return unix.VEOF, true
	case 6:
		return unix.VEOL, true
	case 7:
		return unix.VEOL2, true
	case 8:
		return unix.VSTART, true
	case 9:
		return unix.VSTOP, true
	case 10:
		return unix.VSUSP, true
	case 12:
		return unix.VREPRINT, true
	case 13:
		return unix.VWERASE, true
	case 14:
		return unix.VLNEXT, true
	case 16:
		return unix.VSWTC, true
	case 18:
		return unix.VDISCARD, true
	}
	return 0, false
}

// modeFlag returns the word and the bits that an opcode from 30 on sets; nil for none.
func modeFlag(tio *unix.Termios, op byte) (*uint32, uint32) {
	switch {
	case op >= 30 && op <= 42:
		return &tio.Iflag, [...]uint32{unix.IGNPAR, unix.PARMRK, unix.INPCK, unix.ISTRIP, unix.INLCR,
			unix.IGNCR, unix.ICRNL, unix.IUCLC, unix.IXON, unix.IXANY, unix.IXOFF, unix.IMAXBEL, unix.IUTF8}[op-30]
	case op >= 50 && op <= 62:
		return &tio.Lflag, [...]uint32{unix.ISIG, unix.ICANON, unix.XCASE, unix.ECHO, unix.ECHOE, unix.ECHOK,
			unix.ECHONL, unix.NOFLSH, unix.TOSTOP, unix.IEXTEN, unix.ECHOCTL, unix.ECHOKE, unix.PENDIN}[op-50]
	case op >= 70 && op <= 75:
		return &tio.Oflag, [...]uint32{unix.OPOST, unix.OLCUC, unix.ONLCR, unix.OCRNL, unix.ONOCR, unix.ONLRET}[op-70]
	case op >= 90 && op <= 93:
		return &tio.Cflag, [...]uint32{unix.CS7, unix.CS8, unix.PARENB, unix.PARODD}[op-90]
	}
	return nil, 0
}
