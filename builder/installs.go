// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
)

// installs reports how many packages debootstrap, apt and dpkg have unpacked and configured, in a step of ours or in a
// hook. It reads what they print: debootstrap prints a line for what dpkg writes to its --status-fd, and dpkg itself
// one for each package. A program in a container has one stream for its output, so that --status-fd would say the same
// among the same lines. Programs of a build run with LC_ALL=C.UTF-8.
type installs struct {
	next   io.Writer // gets each line; may be nil
	report *progress.Reporter
	// total is the number of packages to install; 0 if it is unknown.
	total, unpacked, configured int64
}

// The lines. Those of debootstrap are in its functions (info and dpkg_progress), and those of apt and dpkg in
// apt-private/private-output.cc, src/main/unpack.c, src/main/configure.c and src/main/trigproc.c.
var (
	validating = regexp.MustCompile(`^I: Validating \S+ \S+$`)
	unpacking  = regexp.MustCompile(`^(I: )?Unpacking \S+(\.\.\.| \(.*\) \.\.\.)$`)
	settingUp  = regexp.MustCompile(`^(I: Configuring \S+\.\.\.|Setting up \S+ \(.*\) \.\.\.)$`)
	toInstall  = regexp.MustCompile(`^(\d+) upgraded, (\d+) newly installed`)
	triggers   = regexp.MustCompile(`^Processing triggers for (\S+) \(`)
)

// Write receives a line, as from step.Tail.
func (s *installs) Write(line []byte) (int, error) {
	s.follow(strings.TrimSuffix(string(line), "\n"))
	if s.next == nil {
		return len(line), nil
	}
	return s.next.Write(line)
}

func (s *installs) follow(line string) {
	switch {
	case validating.MatchString(line):
		s.total++
		s.report.Advance("verify", s.total, 0, progress.Packages)
	case unpacking.MatchString(line):
		s.unpacked++
		s.report.Advance("unpack", s.unpacked, s.total, progress.Packages)
	case settingUp.MatchString(line):
		s.configured++
		if s.total > 0 { // debootstrap configures one of its packages twice
			s.total = max(s.total, s.configured)
		}
		s.report.Advance("configure", s.configured, s.total, progress.Packages)
	case toInstall.MatchString(line):
		*s = installs{next: s.next, report: s.report}
		for _, number := range toInstall.FindStringSubmatch(line)[1:] {
			n, _ := strconv.ParseInt(number, 10, 64) // of digits only
			s.total += n
		}
	case triggers.MatchString(line):
		s.report.Advance("process the triggers of "+triggers.FindStringSubmatch(line)[1], 0, 0, "")
	}
}
