# SPDX-License-Identifier: Apache-2.0

# Functions in the place of debootstrap's own, see functions.go. Each does what its namesake does, with fewer processes.

#: smallyes
smallyes () {
	# Programs read few of these lines, but the pipe is filled in any case: with one write for each line, by debootstrap.
	YES="${1-y}"
	local lines="$YES"
	for _ in 1 2 3 4 5 6 7 8 9 10 11; do
		lines="$lines
$lines"
	done
	while echo "$lines" 2>/dev/null; do :; done
}

#: apt_dest
apt_dest () {
	local path rest
	case "$1" in
	    deb)
		path="/var/cache/apt/archives/${2}_${3}_${4}.deb"
		case "$path" in
		    *:*) path="${path%%:*}%3a${path#*:}" ;;
		esac
		echo "$path"
		return
		;;
	    pkg) path="${5}_$6" ;;
	    rel) path="${3}_$4" ;;
	    *) return ;;
	esac
	rest="${path#*:}"
	case "$path" in
	    :*) ;;
	    *://*) [ "${rest#//}" = "$rest" ] || path="${rest#//}" ;;
	esac
	rest="$path"
	path=""
	while [ "${rest#*/}" != "$rest" ]; do
		path="$path${rest%%/*}_"
		rest="${rest#*/}"
	done
	echo "$APTSTATE/lists/$path$rest"
}

#: download_debs get verify_checksum
download_debs () {
	local m="$1" pkgdest="$2" debs leftover=""
	shift; shift
	if [ -n "$CACHE_DIR" ] || [ "$DLDEST" != apt_dest ] ||
	    ! debs="$("$PKGDETAILS" DEBS "$m" "$pkgdest" "$TARGET" "$@" 2>/dev/null)"; then
		debootstrap_download_debs "$m" "$pkgdest" "$@"
		return
	fi
	while read -r p ver uri debdest; do
		[ -n "$p" ] || continue
		if [ "$ver" = "-" ]; then
			leftover="$leftover $p"
			continue
		fi
		info VALIDATING "Validating %s %s" "$p" "$ver"
		echo >>"$TARGET/debootstrap/deburis" "$p $ver $uri"
		echo >>"$TARGET/debootstrap/debpaths" "$p $debdest"
	done <<EOF
$debs
EOF
	echo >&5 ${leftover# }
}

#: resolve_deps without
resolve_deps () {
	local m1="${MIRRORS%% *}" names="$*" s c a path
	set --
	for s in $SUITE $EXTRA_SUITES; do
		for c in ${COMPONENTS:-$(echo "${USE_COMPONENTS}" | tr '|' ' ')}; do
			for a in @ARCHITECTURES@; do
				path="dists/$s/$c/binary-$a/Packages"
				set -- "$@" "$TARGET/$($DLDEST pkg "$s" "$c" "$a" "$m1" "$path")"
			done
		done
	done
	"$PKGDETAILS" RESOLVE "${EXCLUDE_DEPENDENCY:-}" "$@" -- $names
}

#: get_release_checksum
get_release_checksum () {
	local reldest path
	reldest="$1"
	path="$2"
	if [ "$DEBOOTSTRAP_CHECKSUM_FIELD" = MD5SUM ]; then
		local match="^[Mm][Dd]5[Ss][Uu][Mm]"
	else
		local match="^[Ss][Hh][Aa]$SHA_SIZE:"
	fi
	# The shell reads a line in the time in which grep reads all.
	sed -n "/$match/,/^[^ ]/p" < "$reldest" | grep -F -e "$path" | \
		while read -r a b c; do
			if [ "$c" = "$path" ]; then echo "$a $b"; fi
		done | head -n 1
}

#: extract debfor extract_dpkg_deb_data
extract () {
	local pkg name p=0
	if [ -n "${EXTRACTOR_OVERRIDE-}" ] || [ "$EXTRACT_DEB_TAR_OPTIONS" != " -k" ]; then
		debootstrap_extract "$@"
		return
	fi
	set -- $(debfor "$@")
	for pkg in "$@"; do
		p=$((p + 1))
		progress "$p" "$#" EXTRACTPKGS "Extracting packages"
		name="${pkg##*/}"
		info EXTRACTING "Extracting %s..." "${name%%_*}"
	done
	@EXTRACT@ "$TARGET" "$@" ||
		error 1 FILEEXIST "Tried to extract packages, but that failed. Exit..."
}
