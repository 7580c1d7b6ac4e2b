package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// ErrNotTrusted reports that the user did not confirm the key of an unknown host.
var ErrNotTrusted = errors.New("host key verification failed: the host is not trusted")

// ConfirmHost asks whether to trust an unknown host, until the answer is yes, no or the fingerprint
// of its key. It returns nil for yes and for the fingerprint, ErrNotTrusted for no, and the error
// of ask.
func ConfirmHost(ctx context.Context, unknown *UnknownHostError, ask func(ctx context.Context, prompt string) (string, error)) error {
	fingerprint := ssh.FingerprintSHA256(unknown.Key)
	prompt := fmt.Sprintf("%v.\nConnect, and remember this key (yes/no/[fingerprint])? ", unknown)
	for {
		answer, err := ask(ctx, prompt)
		switch {
		case err != nil:
			return err
		case strings.EqualFold(answer, "yes"), answer == fingerprint:
			return nil
		case strings.EqualFold(answer, "no"):
			return ErrNotTrusted
		}
		prompt = "Type yes, no or the fingerprint: "
	}
}
