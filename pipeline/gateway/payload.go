package gateway

import (
	"errors"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// Bounds of what a client may send. They are far beyond what people need, and small enough that
// the other parts need not fear the values.
const (
	maxCells   = 4096        // of a terminal's width or height; more is taken as this many
	maxPixels  = 1<<16 - 1   // of the same in pixels; the kernel takes no more
	maxTerm    = 128         // bytes of TERM
	maxModes   = 4 << 10     // bytes of terminal modes; every mode there is takes 5
	maxEnv     = 64          // variables
	maxEnvSize = 4 << 10     // bytes of a variable's name and value
	maxToken   = 16 << 10    // bytes of an access token; a longer one is refused
	maxCommand = 128<<10 - 1 // bytes of a command line: Linux takes no longer argument
)

// Variables that no client may set in a session: a live token, which must go no further, and what
// the platform says, such as who the person is.
const (
	accessTokenVar = "ACCESS_TOKEN"
	platformVars   = "APTIBLE_"
)

var errMalformed = errors.New("malformed request")

// parsePTY parses a pty-req (RFC 4254 §6.2).
func parsePTY(payload []byte) (*session.Terminal, error) {
	var msg struct {
		Term                         string
		Columns, Rows, Width, Height uint32 // in cells, and in pixels
		Modes                        string
	}
	if err := ssh.Unmarshal(payload, &msg); err != nil {
		return nil, err
	}
	if len(msg.Term) > maxTerm || !printable(msg.Term) || strings.ContainsAny(msg.Term, " =") || len(msg.Modes) > maxModes {
		return nil, errMalformed
	}
	unsized := session.Size{Width: 80, Height: 24}
	return &session.Terminal{
		Name:  msg.Term,
		Size:  sizeOf(msg.Columns, msg.Rows, msg.Width, msg.Height, unsized),
		Modes: []byte(msg.Modes),
	}, nil
}

// parseWindow parses a window-change (RFC 4254 §6.7) of a terminal that has the given size.
func parseWindow(payload []byte, now session.Size) (session.Size, error) {
	var msg struct{ Columns, Rows, Width, Height uint32 }
	if err := ssh.Unmarshal(payload, &msg); err != nil {
		return session.Size{}, err
	}
	return sizeOf(msg.Columns, msg.Rows, msg.Width, msg.Height, now), nil
}

// sizeOf returns a size within bounds. Where columns or rows are zero, those of the other size
// stand (RFC 4254 §6.2). A size in pixels is never the other one's: it goes with the cells.
func sizeOf(columns, rows, width, height uint32, otherwise session.Size) session.Size {
	size := otherwise
	size.PixelWidth, size.PixelHeight = int(min(width, maxPixels)), int(min(height, maxPixels))
	if columns > 0 {
		size.Width = int(min(columns, maxCells))
	}
	if rows > 0 {
		size.Height = int(min(rows, maxCells))
	}
	return size
}

// parseEnv parses an env request (RFC 4254 §6.4).
func parseEnv(payload []byte) (name, value string, err error) {
	var msg struct{ Name, Value string }
	if err := ssh.Unmarshal(payload, &msg); err != nil {
		return "", "", err
	}
	if msg.Name == accessTokenVar {
		// Whatever it is: what is wrong with it is said when the session starts. Of one that is too long,
		// no more is kept.
		return msg.Name, strings.Clone(msg.Value[:min(len(msg.Value), maxToken+1)]), nil
	}
	if !variableName(msg.Name) || strings.ContainsRune(msg.Value, 0) || len(msg.Name)+len(msg.Value) > maxEnvSize {
		return "", "", errMalformed
	}
	return msg.Name, msg.Value, nil
}

// parseExec parses an exec request (RFC 4254 §6.5).
func parseExec(payload []byte) (command string, err error) {
	var msg struct{ Command string }
	if err := ssh.Unmarshal(payload, &msg); err != nil {
		return "", err
	}
	if strings.ContainsRune(msg.Command, 0) {
		return "", errMalformed
	}
	return msg.Command, nil
}

// parseSubsystem parses a subsystem request (RFC 4254 §6.5).
func parseSubsystem(payload []byte) (name string, err error) {
	var msg struct{ Name string }
	err = ssh.Unmarshal(payload, &msg)
	return msg.Name, err
}

// parseSignal parses a signal request (RFC 4254 §6.9). Some clients send the name with "SIG".
func parseSignal(payload []byte) (name string, err error) {
	var msg struct{ Name string }
	if err := ssh.Unmarshal(payload, &msg); err != nil {
		return "", err
	}
	name = strings.TrimPrefix(msg.Name, "SIG")
	if !standardSignal(name) {
		return "", errMalformed
	}
	return name, nil
}

// exitStatus is the payload of an exit-status request (RFC 4254 §6.10).
func exitStatus(status int) []byte {
	if status < 0 {
		status = statusRefused
	}
	return ssh.Marshal(struct{ Status uint32 }{uint32(status)})
}

// exitSignal is the payload of an exit-signal request (RFC 4254 §6.10).
func exitSignal(exit session.Exit) []byte {
	name := exit.Signal
	if !standardSignal(name) {
		name += "@ttydrain" // RFC 4254 §6.10 wants a suffix on names it does not have
	}
	return ssh.Marshal(struct {
		Name       string
		CoreDumped bool
		Message    string
		Language   string
	}{name, exit.CoreDumped, "", ""})
}

// standardSignal says whether RFC 4254 §6.10 has the signal's name.
func standardSignal(name string) bool {
	switch name {
	case "ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2":
		return true
	}
	return false
}

// variableName says whether s is a name that a shell takes.
func variableName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case '0' <= c && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}

// printable says whether s is printable ASCII only.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
