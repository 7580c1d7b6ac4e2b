package setup

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"strings"
)

// A Question is asked on a terminal.
type Question struct {
	Text    string
	Default string
	// Use stores an answer. If it returns an error, the question is asked again.
	Use func(answer string) error
}

// Ask asks questions, one after the other. An empty answer is the default.
func Ask(in io.Reader, out io.Writer, questions []Question) error {
	lines := bufio.NewReader(in)
	for _, q := range questions {
		for {
			fmt.Fprintf(out, "%s [%s]: ", q.Text, q.Default)
			line, err := lines.ReadString('\n')
			if err != nil && (line == "" || !errors.Is(err, io.EOF)) {
				fmt.Fprintln(out)
				return fmt.Errorf("read the answer: %w", err)
			}
			if err := q.Use(cmp.Or(strings.TrimSpace(line), q.Default)); err != nil {
				fmt.Fprintf(out, "%v\n", err)
				continue
			}
			break
		}
	}
	return nil
}

// ParseUser parses a name with an e-mail address.
func ParseUser(text string) (mail.Address, error) {
	address, err := mail.ParseAddress(text)
	if err != nil || address.Name == "" {
		return mail.Address{}, fmt.Errorf("%q is not understood: expected a name and an e-mail address, such as Ada Lovelace <ada@example.com>", text)
	}
	return *address, nil
}
