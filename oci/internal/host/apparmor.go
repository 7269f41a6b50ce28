// SPDX-License-Identifier: Apache-2.0

package host

import "strings"

// AppArmorProfileFile is where the profile of AppArmorProfile belongs.
const AppArmorProfileFile = "/etc/apparmor.d/vmdebootstrap"

// AppArmorProfile is a profile by which AppArmor, from version 4.0 on, lets a program have user namespaces
// with rights in them where kernel.apparmor_restrict_unprivileged_userns takes those from all others: Ubuntu
// since 23.10. It is found by the program's path, which may be a pattern of AppArmor's, and restricts nothing
// else.
func AppArmorProfile(program string) string {
	return `# Lets vmdebootstrap make user namespaces where AppArmor restricts them, as Ubuntu does since 23.10.
# Load it, as root: apparmor_parser -r ` + AppArmorProfileFile + `

abi <abi/4.0>,
include <tunables/global>

profile vmdebootstrap "` + program + `" flags=(unconfined) {
  userns,

  include if exists <local/vmdebootstrap>
}
`
}

// AppArmorPath writes a path so that AppArmor takes it for no pattern.
func AppArmorPath(path string) string {
	return strings.NewReplacer(
		`\`, `\\`, `"`, `\"`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `{`, `\{`, `}`, `\}`, `^`, `\^`, `@`, `\@`,
	).Replace(path)
}

// loadProfile is the command by which root has AppArmor let this program make user namespaces. The verb is cmd's.
func loadProfile(executable string) string {
	return shellWord(executable) + " doctor --apparmor-profile > " + AppArmorProfileFile + " && apparmor_parser -r " +
		AppArmorProfileFile
}

// shellWord quotes a word for a shell if it needs that.
func shellWord(word string) string {
	plain := func(r rune) bool {
		return r == '/' || r == '.' || r == '-' || r == '_' || r == '+' || '0' <= r && r <= '9' ||
			'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z'
	}
	if strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
