// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
)

// debianReleases are Debian's releases in order: those with keys and two more.
var debianReleases = []string{
	"sarge", "etch", "lenny", "squeeze", "wheezy", "jessie", "stretch", "buster", "bullseye", "bookworm", "trixie",
	"forky", "duke",
}

// role is what a key of Debian's or Ubuntu's is used for.
type role int

const (
	// automatic keys sign everything in the main archive whenever it changes.
	automatic role = iota
	// security keys sign the security archive; before jessie, automatic keys did.
	security
	// stable keys sign one release, by hand.
	stable
	// ubuntu keys sign all suites of Ubuntu's archives.
	ubuntu
	// retired keys are those of archives that no longer exist, or that sign no archive.
	retired
)

// signer describes one of Debian's or Ubuntu's keys.
type signer struct {
	fingerprint string // of the primary key, in capitals
	role        role
	release     string
}

// debianSigners are all keys of the package debian-archive-keyring 2025.1, removed ones included. The releases are from
// their user IDs ("Debian Archive Automatic Signing Key (12/bookworm)").
var debianSigners = []signer{
	{"D051FE3A848DCABD4625787A6FFA8EF91DB114E0", automatic, "sarge"},
	{"4C7A8E5E9454FE3FAE1E78ADF1D53D8C4F368D5D", automatic, "sarge"},
	{"C20CA1D9499DECBBD8BDACF9E415B2B4B5F5BBED", retired, "sarge"},
	{"084750FC01A6D388A643D869010908312D230C5F", automatic, "etch"},
	{"A99951DAF9BB569BDB50AD90A70DAF536070D3A1", automatic, "etch"},
	{"7EA391D72477203B58C04FBCB5D0C804ADB11277", stable, "etch"},
	{"6039406A4EDCE124CF087B0AEC61E0B0BBE55AB3", retired, "etch"},
	{"150C8614919D8446E01E83AF9AA38DCD55BE302B", automatic, "lenny"},
	{"7F5A44454C724A65CBCD4FB14D270D06F42584E6", stable, "lenny"},
	{"F6CFDE3061333CE2A43FDAF0DFD993306D849617", retired, "lenny"},
	{"0E4EDE2C7F3E1FC0D033800E64481591B98321F9", stable, "squeeze"},
	{"9FED2BCBDCD29CDF762678CBAED4B06F473041FA", automatic, "squeeze"},
	{"A1BD8E9D78F7FE5C3E65D8AF8B48AD6246925553", automatic, "wheezy"},
	{"ED6D65271AACF0FF15D123036FB2A1C265FFB764", stable, "wheezy"},
	{"75DDC3C4A499F1A18CB5F3C8CBF8D6FD518E17E1", stable, "jessie"},
	{"126C0D24BD8A2942CC7DF8AC7638D0442B90D010", automatic, "jessie"},
	{"D21169141CECD440F2EB8DDA9D6D8F6BC857C906", security, "jessie"},
	{"067E3C456BAE240ACEE88F6FEF0F382A1A7B6500", stable, "stretch"},
	{"E1CF20DDFFE4B89E802658F1E0B11894F66AEC98", automatic, "stretch"},
	{"6ED6F5CB5FA6FB2F460AE88EEDA0D2388AE22BA9", security, "stretch"},
	{"6D33866EDD8FFA41C0143AEDDCC9EFBF77E11517", stable, "buster"},
	{"80D15823B7FD1561F9F7BCDDDC30D7C23CBBABEE", automatic, "buster"},
	{"5E61B217265DA9807A23C5FF4DFAB270CAA96DFA", security, "buster"},
	{"1F89983E0081FDE018F3CC9673A4F27B8DD47936", automatic, "bullseye"},
	{"AC530D520F2F3269F5E98313A48449044AAD5C5D", security, "bullseye"},
	{"A4285295FC7B1A81600062A9605C66F00D6C9793", stable, "bullseye"},
	{"4D64FEC119C2029067D6E791F8D2585B8783D481", stable, "bookworm"},
	{"B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8", automatic, "bookworm"},
	{"05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0", security, "bookworm"},
	{"04B54C3CDCA79751B16BC6B5225629DF75B188BD", automatic, "trixie"},
	{"5E04A1E3223A19A20706E20F9904613D4CCE68C6", security, "trixie"},
	{"41587F7DB8C774BCCF131416762F67A0B2C39DE4", stable, "trixie"},
}

// ubuntuSigners are all keys in the file ubuntu-archive-keyring.gpg of the package ubuntu-keyring 2023.11.28.1.
var ubuntuSigners = []signer{
	{"790BC7277767219C42C86F933B4FE6ACC0B21F32", ubuntu, "Ubuntu"}, // of 2012
	{"F6ECB3762474EDA9D21B7022871920D1991BC93C", ubuntu, "Ubuntu"}, // of 2018
	{"843938DF228D22F7B3742BC0D94AA3F0EFE21092", retired, "Ubuntu's images"},
}

// defaultSigners are the keys that are built into the program.
var defaultSigners = slices.Concat(debianSigners, ubuntuSigners)

// isUbuntu reports whether a suite belongs to a release of Ubuntu.
func isUbuntu(suite string) bool {
	codename, _ := splitSuite(suite)
	release, known := debian.LookupRelease(codename)
	return known && release.Vendor == debian.Ubuntu
}

// newestRelease returns the index in debianReleases of the last release with keys.
func newestRelease(table []signer) int {
	newest := 0
	for _, s := range table {
		newest = max(newest, slices.Index(debianReleases, s.release))
	}
	return newest
}

// maySign reports whether a key may sign a suite, given the newest release with keys.
//
// An automatic key is made shortly before its release and signs everything in the archive until a key two releases
// later replaces it: trixie is signed by bookworm's key and its own, and suites after trixie (forky, sid, experimental,
// names that are not in the table) by bookworm's and trixie's. What the archive changes or moves to archive.debian.org
// later is signed by newer keys. So a key signs no suite from two releases after its own on, except those of releases
// that have no key yet. No key of Debian's signs Ubuntu's suites, and no key of Ubuntu's other ones.
func (s signer) maySign(suite string, newest int) bool {
	if s.role == ubuntu || isUbuntu(suite) {
		return s.role == ubuntu && isUbuntu(suite)
	}
	own := slices.Index(debianReleases, s.release)
	release, rest := splitSuite(suite)
	position := slices.Index(debianReleases, release)
	reach := own + 1
	if position < 0 || position > newest {
		position = newest + 1
		reach = own + 2
	}
	isSecurity := rest == "/updates" || rest == "-security"
	switch s.role {
	case stable:
		return position == own && rest == ""
	case security:
		return isSecurity && position <= reach
	case automatic:
		return (!isSecurity || position < slices.Index(debianReleases, "jessie")) && position <= reach
	}
	return false
}
