package probe

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"unicode"

	"github.com/ttydrain/ttydrain/schema"
)

// Explain returns why a connection failed, and what to look at if it goes on failing.
func Explain(err error) (reason, advice string) {
	dns, network := (*net.DNSError)(nil), net.Error(nil)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "the host name is not known", "correct the address, or the name server"
	case errors.As(err, &dns):
		return "the name server did not answer", "see whether this machine's name server works"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there", "start the drain, or correct the address"
	case errors.As(err, &network) && network.Timeout():
		return "no answer in time", "see whether the address is right and no firewall is in between, or raise timeout"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "the drain closed the connection before it had confirmed", "look into its log"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no way to it through the network", "correct the address, or this machine's routes"
	default:
		return "the connection failed, or the answer was not understood", "see whether what listens there is the drain"
	}
}

// IsTimeout reports whether an operation of the network took too long.
func IsTimeout(err error) bool {
	network, ok := errors.AsType[net.Error](err)
	return ok && network.Timeout()
}

// Printable returns a text of unknown origin in a form that is safe for a terminal: without control
// and hidden characters, and not too long.
func Printable(s string) string {
	const maxLength = 1000
	if len(s) > maxLength {
		s = s[:maxLength] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return ' '
		}
		if !unicode.IsPrint(r) || schema.IsHidden(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
