// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
)

var (
	// packageName is section 5.6.7 of the Debian policy, with the architecture, version (section 5.6.12) or suite that
	// apt-get(8) accepts behind it.
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?(=[A-Za-z0-9.+:~-]+|/[a-z0-9][a-z0-9./-]*)?$`)
	// hostLabel is one part of a host name, RFC 1123 section 2.1.
	hostLabel = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	// accountName is what adduser takes (NAME_REGEX in adduser.conf), 32 characters at most (useradd(8)).
	accountName = regexp.MustCompile(`^[a-z][-a-z0-9_]{0,31}$`)
)

// maxHostname is HOST_NAME_MAX of Linux.
const maxHostname = 64

// unsupportedDebootstrapOptions are words of --debootstrapopts that a build cannot do with, and why.
var unsupportedDebootstrapOptions = map[string]string{
	"arch":           "use --arch",
	"cache-dir":      "packages are kept in --state-dir anyway",
	"certificate":    "it names a file that debootstrap cannot see in its container",
	"private-key":    "it names a file that debootstrap cannot see in its container",
	"unpack-tarball": "it names a file that debootstrap cannot see in its container",

	"debian-installer":    "debootstrap would make no complete system",
	"download-only":       "debootstrap would make no complete system",
	"foreign":             "debootstrap would make no complete system; --arch alone is enough",
	"help":                "debootstrap would make no complete system",
	"make-tarball":        "debootstrap would make no complete system",
	"print-debs":          "debootstrap would make no complete system",
	"second-stage":        "debootstrap would make no complete system",
	"second-stage-target": "debootstrap would make no complete system",
	"version":             "debootstrap would make no complete system",
}

// debootstrapOptions are the other options of debootstrap 1.0.141.
var debootstrapOptions = []string{
	"components", "exclude", "extra-suites", "extractor", "force-check-gpg", "include", "inrelease-path",
	"keep-debootstrap-dir", "keyring", "log-extra-deps", "merged-usr", "no-check-certificate", "no-check-gpg",
	"no-merged-usr", "no-resolve-deps", "resolve-deps", "variant", "verbose",
}

// debootstrapMakesASystem finds options that leave no system, and mistyped ones. A word that is near none may be an
// option of a later debootstrap.
func debootstrapMakesASystem(s Spec) []error {
	var problems []error
	for _, word := range step.DebootstrapWords(s.o.Debootstrapopts) {
		name, _, _ := strings.Cut(word, "=")
		question := suggest.Question(name, debootstrapOptions)
		switch why, unsupported := unsupportedDebootstrapOptions[name]; {
		case unsupported:
			problems = append(problems, problem.New("--debootstrapopts", "%q cannot be used: %s", word, why)...)
		case question != "" && !slices.Contains(debootstrapOptions, name):
			problems = append(problems,
				problem.New("--debootstrapopts", "%q is not an option of debootstrap%s", name, question)...)
		}
	}
	if keyring := s.Trust().Keyring; keyring != "" {
		if _, err := s.w.Stat(keyring); err != nil {
			problems = append(problems, problem.New("--debootstrapopts", "keyring: %w", err)...)
		}
	}
	return problems
}

// mirrorSchemes are those of mirrors that packages come from; an --apt-mirror can have any that apt has a method for.
var mirrorSchemes = []string{"http", "https", "file", "copy"}

func mirrorURLs(s Spec) []error {
	var problems []error
	check := func(flag string, given secret.URL) {
		text := given.Reveal()
		if text == "" {
			return
		}
		if given.Redacted() {
			problems = append(problems,
				problem.New(flag, "%q has in it what stands for credentials that --dump-config hid: write them in "+
					"its place", text)...)
			return
		}
		u, err := url.Parse(text)
		var syntax *url.Error
		switch {
		case errors.As(err, &syntax):
			// The URL may hold a password, which its error would repeat.
			problems = append(problems, problem.New(flag, "not a URL: %w", syntax.Err)...)
		case strings.ContainsAny(text, " \t\r\n"):
			problems = append(problems, problem.New(flag, "a URL has no blanks")...)
		case hasBlanks(given):
			problems = append(problems, problem.New(flag, "apt cannot read credentials that have blanks in them")...)
		case u.Scheme == "file" || u.Scheme == "copy":
			problems = append(problems, s.localMirror(flag, u)...)
		case u.Scheme == "" || u.Host == "":
			problems = append(problems, problem.New(flag, "%q is not a URL like http://HOST/debian", given.String())...)
		case flag != "--apt-mirror" && !slices.Contains(mirrorSchemes, u.Scheme):
			problems = append(problems, problem.New(flag, "unknown scheme %q; want one of %s%s", u.Scheme,
				strings.Join(mirrorSchemes, ", "), suggest.Question(u.Scheme, mirrorSchemes))...)
		}
	}
	for _, mirror := range append([]secret.URL{s.o.Mirror}, s.o.OtherMirrors...) {
		check("--mirror", mirror)
	}
	check("--apt-mirror", s.o.AptMirror)
	check("--tools-mirror", s.o.ToolsMirror)
	check("--security-mirror", s.o.SecurityMirror)
	check("--snapshot-mirror", s.o.SnapshotMirror)
	for _, r := range s.o.Repositories {
		check("--repository", r.URL)
	}
	return problems
}

// localMirror checks the URL of a mirror on this machine. The directory is mounted at the same path in the toolbox and
// in the system, where apt finds it; --apt-mirror names one that only the image will have.
func (s Spec) localMirror(flag string, u *url.URL) []error {
	switch dir := path.Clean(u.Path); {
	case u.Path == "" || u.Host != "":
		return problem.New(flag, "%q is not a URL like %s:///srv/mirror", u.Redacted(), u.Scheme)
	case flag == "--apt-mirror":
		return nil
	case strings.Contains(u.EscapedPath(), "%"):
		return problem.New(flag, "debootstrap cannot read the path of %q: give it a name of letters and digits",
			u.Redacted())
	case step.HidesToolbox(dir):
		return problem.New(flag, "%s cannot be shared with the system that is built, which has a directory of that "+
			"name: use a bind mount at another place", dir)
	default:
		if _, err := s.w.Stat(dir); err != nil {
			return problem.New(flag, "%w", err)
		}
		return nil
	}
}

// hasBlanks reports whether the credentials of a URL have blanks or control characters.
func hasBlanks(u secret.URL) bool {
	user, password, _ := u.Login()
	return strings.ContainsFunc(user+password.Reveal(),
		func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
}

// authorities: --ca names a file that can be read; what is in it, the client says.
func authorities(s Spec) []error {
	if s.o.CA == "" {
		return nil
	}
	if _, err := s.w.Stat(s.o.CA); err != nil {
		return problem.New("--ca", "%w", err)
	}
	return nil
}

func packageSyntax(s Spec) []error {
	var problems []error
	for _, name := range packageNames(s.o.Packages) {
		if name != "" && !packageName.MatchString(name) {
			problems = append(problems, problem.New("--package", "%q is not a package name", name)...)
		}
	}
	if name := s.o.KernelPackage; name != "" && !packageName.MatchString(name) {
		problems = append(problems, problem.New("--kernel-package", "%q is not a package name", name)...)
	}
	return problems
}

// archOfRelease: the release is made for the architecture.
func archOfRelease(s Spec) []error {
	if s.arch.Name == "" || s.arch.In(s.release) {
		return nil
	}
	return problem.New("--arch", "%s has no %s: want one of %s", s.release.Codename, s.arch.Name,
		strings.Join(debian.ArchesIn(s.release), ", "))
}

// kernelExists: some architectures outlived their kernels (i386 in trixie).
func kernelExists(s Spec) []error {
	if s.o.NoKernel || s.arch.Name == "" || !s.arch.In(s.release) || s.KernelPackage() != "" {
		return nil
	}
	return problem.New("--arch", "%s has no kernel for %s: use --kernel-package or --no-kernel", s.release.Codename,
		s.arch.Name)
}

func localPackages(s Spec) []error {
	var problems []error
	for _, file := range s.o.CustomPackages {
		info, err := s.w.Stat(file)
		switch {
		case err != nil:
			problems = append(problems, &problem.Problem{Flag: "--custom-package", Err: err})
		case !info.Mode().IsRegular():
			problems = append(problems, problem.New("--custom-package", "%q is not a file", file)...)
		case filepath.Ext(file) != ".deb":
			problems = append(problems, problem.New("--custom-package", "%q is not a .deb file", file)...)
		}
	}
	return problems
}

func hostnameSyntax(s Spec) []error {
	if len(s.o.Hostname) > maxHostname {
		return problem.New("--hostname", "%q is longer than %d characters", s.o.Hostname, maxHostname)
	}
	for label := range strings.SplitSeq(s.o.Hostname, ".") {
		if !hostLabel.MatchString(label) {
			return problem.New("--hostname",
				"%q is not a host name: letters, digits and inner hyphens, parts of at most 63 "+
					"characters with dots between them", s.o.Hostname)
		}
	}
	return nil
}

func userSyntax(s Spec) []error {
	var problems []error
	seen := map[string]bool{"root": true}
	for _, u := range s.o.Users {
		switch {
		case !accountName.MatchString(u.Name):
			problems = append(problems,
				problem.New("--user", "%q is not a user name: a small letter, then at most 31 small "+
					"letters, digits, hyphens and underscores", loggable(u.Name))...)
		case u.Name == "root":
			problems = append(problems, problem.New("--user", "root is there anyway: use --root-password")...)
		case seen[u.Name]:
			problems = append(problems, problem.New("--user", "%q is given twice", u.Name)...)
		}
		seen[u.Name] = true
	}
	return problems
}

// loggable cuts a name off behind its first character that is neither a letter nor a digit, nor in a name:
// NAME:PASSWORD is an easy mistake to make, and a password must not get into a log.
func loggable(name string) string {
	for i, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.", r) {
			return name[:i] + string(r)
		}
	}
	return name
}

// passwordsWritten: a password is one line, and neither it nor a command is the text that hides secrets in a dumped
// configuration.
func passwordsWritten(s Spec) []error {
	var problems []error
	for _, a := range s.o.Actions {
		if a.Command.Reveal() == secret.Hidden {
			problems = append(problems,
				problem.New(a.Flag(), "%q stands for a command that --dump-config hid: write the command in its "+
					"place", secret.Hidden)...)
		}
	}
	check := func(flag string, password secret.Text) {
		switch {
		case password.Reveal() == secret.Hidden:
			problems = append(problems, problem.New(flag, "%q stands for a password that --dump-config hid: write the "+
				"password in its place", secret.Hidden)...)
		case strings.ContainsAny(password.Reveal(), "\x00\r\n"):
			problems = append(problems, problem.New(flag, "a password has no line breaks")...)
		}
	}
	check("--root-password", s.o.RootPassword)
	for _, u := range s.o.Users {
		check("--user", u.Password)
	}
	return problems
}

// ownerIsPossible: the user exists, and the caller may give files to that user.
func ownerIsPossible(s Spec) []error {
	if s.o.Owner == "" || s.w.LookupUser == nil {
		return nil
	}
	owner, err := s.w.LookupUser(s.o.Owner)
	if err != nil {
		return problem.New("--owner", "%w", err)
	}
	if s.w.UID != 0 && owner.Uid != strconv.Itoa(s.w.UID) {
		return problem.New("--owner", "only root can make %s the owner; without --owner, outputs are yours", s.o.Owner)
	}
	return nil
}
