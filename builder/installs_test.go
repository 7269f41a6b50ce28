// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

func TestInstallsFollowsDebootstrapAndApt(t *testing.T) {
	t.Parallel()
	const output = `I: Retrieving Packages
I: Validating Packages
I: Validating apt 3.0.3
I: Validating base-files 13.8
I: Extracting apt...
I: Installing core packages...
I: Unpacking required packages...
I: Unpacking apt...
I: Unpacking base-files...
I: Configuring required packages...
I: Configuring apt...
I: Configuring base-files...
I: Configuring apt...
I: Base system installed successfully.
The following NEW packages will be installed:
  nano
1 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Unpacking dpkg (1.22.22) over (1.22.21) ...
Unpacking nano (8.4-1) ...
Unpacking the files that nobody has asked for ...
Setting up nano (8.4-1) ...
Processing triggers for libc-bin (2.41-12) ...
`
	var got []string
	r := progress.New(func(e progress.Event) {
		got = append(got, fmt.Sprint(e.Activity, " ", e.Done, "/", e.Total, " ", e.Unit))
	}, time.Now, nil)
	var log bytes.Buffer
	s := &installs{next: &log, report: r}
	for line := range strings.Lines(output) {
		if _, err := s.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"verify 1/0 packages", "verify 2/0 packages", "unpack 1/2 packages", "unpack 2/2 packages",
		"configure 1/2 packages", "configure 2/2 packages", "configure 3/3 packages", "unpack 1/3 packages",
		"unpack 2/3 packages", "configure 1/3 packages",
		"process the triggers of libc-bin 0/0 ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if log.String() != output {
		t.Errorf("the log differs: %q", log.String())
	}
}
