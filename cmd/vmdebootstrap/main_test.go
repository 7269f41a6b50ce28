// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"slices"
	"testing"
)

// Issue 15, 2: the message between the two runs changed bytes that are not UTF-8, and so the names of outputs.
func TestArgumentsKeepTheirBytes(t *testing.T) {
	t.Parallel()
	args := []string{"--image", "caf\xe9.img", "", "\xff\xfe", "日本"}
	message, err := json.Marshal(asBytes(args))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := callArgs(nil, message); err != nil || !slices.Equal(got, args) {
		t.Errorf("got %q, %v, want %q", got, err, args)
	}
	if got, err := callArgs(args, nil); err != nil || !slices.Equal(got, args) {
		t.Errorf("the first run: got %q, %v", got, err)
	}
}
