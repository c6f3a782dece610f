from papisim.report import latex


def test_a_table_has_the_rules_of_booktabs_and_says_what_latex_would_take_for_commands():
    text = latex.table(["machine", "energy_j"], [["gpu_only & 1", "50 %"]], right=[False, True], title="100 %\nline")
    assert text.splitlines() == [
        "% 100 %",
        "% line",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"machine & energy\_j \\",
        r"\midrule",
        r"gpu\_only \& 1 & 50 \% \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_signs_that_text_fonts_lack_are_mathematics():
    assert latex.escaped("1.38× at 5 µs, α ≥ 2, 3 mm²") == r"1.38$\times$ at 5 $\mu$s, $\alpha$ $\ge$ 2, 3 mm$^2$"
    assert latex.escaped("\\input{x}") == r"\textbackslash{}input\{x\}"
