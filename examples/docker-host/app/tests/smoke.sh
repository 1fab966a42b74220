# The tests of a release: what answers at an address is a page. JUnit goes where shipit looks for it.
address=$1
cases= failed=0

# check NAME TEXT: the page has this text, which is no markup itself.
check() {
  if /bin/busybox wget -q -O - "$address" | /bin/busybox grep -q "$2"; then
    cases="$cases<testcase classname='smoke' name='$1'/>"
  else
    cases="$cases<testcase classname='smoke' name='$1'><failure message='no $2 in the page'/></testcase>"
    failed=1
  fi
}

check "has a title" h1
check "ends its title" /h1
echo "<testsuite name='smoke'>$cases</testsuite>" > "$SHIPIT_REPORTS/smoke.xml"
exit $failed
