// SPDX-License-Identifier: Apache-2.0

package main

import (
	"reflect"
	"testing"
)

// Issue 15, 2: the message between the two runs changed bytes that are not UTF-8, and so the names of outputs.
func TestArgumentsKeepTheirBytes(t *testing.T) {
	t.Parallel()
	args := []string{"--image", "caf\xe9.img", "", "\xff\xfe", "日本"}
	want := call{args: args, image: "web", written: []string{"/caf\xe9.img"}}
	message, err := want.message()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readCall(nil, message); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if got, err := readCall(args, nil); err != nil || !reflect.DeepEqual(got, call{args: args}) {
		t.Errorf("the first run: got %q, %v", got, err)
	}
}
