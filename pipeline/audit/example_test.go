package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"

	"github.com/ttydrain/ttydrain/pipeline/audit"
	"github.com/ttydrain/ttydrain/pipeline/identity"
	"github.com/ttydrain/ttydrain/pipeline/replay"
)

// A Checker verifies a drain's copy with the public keys of ttydrain, which it publishes at
// /.well-known/jwks.json. In the second copy, one letter of the output was altered.
func ExampleChecker() {
	jwks, err := os.ReadFile("testdata/jwks.json")
	if err != nil {
		log.Fatal(err)
	}
	keys, err := identity.ParseKeySet(jwks)
	if err != nil {
		log.Fatal(err)
	}
	original, err := os.ReadFile("testdata/session.ndjson")
	if err != nil {
		log.Fatal(err)
	}
	altered := bytes.ReplaceAll(original, []byte("rm a.txt"), []byte("rm b.txt"))

	checker := &audit.Checker{Keys: &keys}
	for _, copied := range [][]byte{original, altered} {
		files := &replay.Files{Names: []string{"-"}, Stdin: bytes.NewReader(copied)}
		_, err := replay.Sessions(context.Background(), files, replay.Selection{}, func(s *replay.Session) error {
			result := checker.Check(s)
			fmt.Println(result.Operation, result.User, result.Verdict, result.Proven)
			for _, f := range result.Findings {
				fmt.Printf("  %s: record %d, %s: %s\n", f.Kind, f.First, f.Place, f.What)
			}
			return nil
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 42 Ada Lovelace <ada@example.com> intact [bytes texts order]
	// 42 Ada Lovelace <ada@example.com> damaged []
	//   changed: record 4, -:4: its bytes or its digest are not those that were recorded
}
