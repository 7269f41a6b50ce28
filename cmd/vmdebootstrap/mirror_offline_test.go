// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// Issue 15, 1: a mirror that had to be asked again was not mentioned.
func TestRetriesAreSaidOnTheTerminal(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	o.repo.Inject("InRelease", archivetest.Fault{Page: "<html>log in</html>"},
		archivetest.Fault{Status: http.StatusServiceUnavailable})
	text := o.build(o.machine())
	for _, want := range []string{"/InRelease: a web page in place of the file: ", ": attempt 2 of 4 in 500ms\n",
		"/InRelease: 503 Service Unavailable: attempt 3 of 4 in 1s\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("got %s\nwant %q in it", text, want)
		}
	}
}
