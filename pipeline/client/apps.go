package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
)

// maxAppList limits the list of apps, in bytes.
const maxAppList = 1 << 20

// Apps returns the apps that the user may open, on a connection whose user name asks for them. If
// the gateway refuses, status is not 0, and it has written the reason to stderr.
func (c *Client) Apps(ctx context.Context, env map[string]string, stderr io.Writer) (apps []string, status int, err error) {
	var list bytes.Buffer
	status, err = c.Run(ctx, Session{Env: env, Stdout: &limitedWriter{to: &list, left: maxAppList}, Stderr: stderr})
	if err != nil || status != 0 {
		return nil, status, err
	}
	return strings.Fields(Printable(list.String())), 0, nil
}

// A limitedWriter fails when more than left bytes are written.
type limitedWriter struct {
	to   io.Writer
	left int
}

func (l *limitedWriter) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		return 0, errors.New("the gateway's list of apps is too long")
	}
	return l.to.Write(b)
}
