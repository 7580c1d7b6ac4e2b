package gateway

import (
	"errors"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/session"
)

// Limits of what a client may send. They far exceed the needs of users, and are small enough for
// the other parts to handle without further checks.
const (
	maxCells   = 4096        // maximum width or height of a terminal; larger values are reduced
	maxPixels  = 1<<16 - 1   // the same in pixels; the kernel's limit
	maxTerm    = 128         // bytes of TERM
	maxModes   = 4 << 10     // bytes of terminal modes; each existing mode takes 5
	maxEnv     = 64          // variables
	maxEnvSize = 4 << 10     // bytes of a variable's name and value
	maxToken   = 16 << 10    // bytes of an access token; longer ones are refused
	maxCommand = 128<<10 - 1 // bytes of a command line: Linux's limit for an argument
)

// Variables that a client may not set in a session: a live access token, which must not be passed
// on, and those of the platform, which identify the user.
const (
	accessTokenVar = "ACCESS_TOKEN"
	platformVars   = "APTIBLE_"
)

var errMalformed = errors.New("malformed request")

// parsePTY parses a pty-req (RFC 4254 §6.2).
func parsePTY(payload []byte) (*session.Terminal, error) {
	var msg struct {
		Term                         string
		Columns, Rows, Width, Height uint32 // in cells and in pixels
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

// parseWindow parses a window-change (RFC 4254 §6.7) of a terminal whose size is now.
func parseWindow(payload []byte, now session.Size) (session.Size, error) {
	var msg struct{ Columns, Rows, Width, Height uint32 }
	if err := ssh.Unmarshal(payload, &msg); err != nil {
		return session.Size{}, err
	}
	return sizeOf(msg.Columns, msg.Rows, msg.Width, msg.Height, now), nil
}

// sizeOf returns a size within the limits. Zero columns or rows are taken from the other size (RFC
// 4254 §6.2). The size in pixels never is: it belongs to the cells.
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
		// Accept any value: errors in it are reported when the session starts. A value that is too
		// long is truncated.
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

// exitStatus returns the payload of an exit-status request (RFC 4254 §6.10).
func exitStatus(status int) []byte {
	if status < 0 {
		status = statusRefused
	}
	return ssh.Marshal(struct{ Status uint32 }{uint32(status)})
}

// exitSignal returns the payload of an exit-signal request (RFC 4254 §6.10).
func exitSignal(exit session.Exit) []byte {
	name := exit.Signal
	if !standardSignal(name) {
		name += "@ttydrain" // RFC 4254 §6.10 requires a suffix on other names
	}
	return ssh.Marshal(struct {
		Name       string
		CoreDumped bool
		Message    string
		Language   string
	}{name, exit.CoreDumped, "", ""})
}

// standardSignal reports whether RFC 4254 §6.10 has the signal's name.
func standardSignal(name string) bool {
	switch name {
	case "ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2":
		return true
	}
	return false
}

// variableName reports whether s is a valid name of a shell variable.
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

// printable reports whether s is printable ASCII.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
