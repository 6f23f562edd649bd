"""`gateway tune`: what this machine, its kernel and the settings allow, and what to change about it and why.

    facts = read_facts()                                   # /proc, /sys, cgroups, limits; nothing is changed
    situation = Situation(facts, settings, choose_profile(facts))
    advice = advise(situation)                             # one line for each rule that has something to say

`facts` and `cgroups` read, `profiles` says what a size of machine gets, `settings_rules`, `kernel_rules` and
`machine_rules` are the rules as data, `advice` goes through them, `presets` makes files of it, `applying`
puts them where they take effect. To add a rule, add a `Rule` to one of the three lists and, for a setting, a
line to docs/tuning.md (a test asks for it).
"""
