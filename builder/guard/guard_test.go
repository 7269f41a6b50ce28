// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestParseMakesAnErrorOfAPanic(t *testing.T) {
	t.Parallel()
	var empty []byte
	err := Parse(func() error { return errors.New(string(empty[1:2])) })
	p, ok := errors.AsType[*Panic](err)
	if !ok || !strings.Contains(err.Error(), "slice bounds out of range") || strings.Contains(err.Error(), "\n") {
		t.Fatalf("got %v", err)
	}
	if !bytes.Contains(p.Stack, []byte("guard_test.go")) {
		t.Errorf("the trace does not say where: %s", p.Stack)
	}
	if err := Parse(func() error { return io.EOF }); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the parser's own error", err)
	}
}
